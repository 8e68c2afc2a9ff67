"""The server's certificate, read again when it is renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

from hypercorn.config import Config


class UnusableCertificate(Exception):
    """Certificate and key can't be used; str() says why."""


class ServerCertificate:
    """A certificate and its key. context: for connections that are accepted now.

    Raises UnusableCertificate where the pair can't be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = self._read()

    def reload(self) -> None:
        """Read both files again. Raises UnusableCertificate; the pair from before then stays in use."""
        self.context = self._read()

    def _read(self) -> ssl.SSLContext:
        config = Config()
        config.certfile = str(self._certificate)
        config.keyfile = str(self._key)
        # A key with a pass phrase would be asked for on the terminal.
        config.keyfile_password = ""
        try:
            context = config.create_ssl_context()
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            raise UnusableCertificate(
                f"certificate {self._certificate} with key {self._key}: {reason}"
            ) from error
        assert context is not None
        # Hypercorn sets the options anew, and this one saves a handshake that a client could ask for at will.
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context
