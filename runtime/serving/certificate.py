"""The server's certificate, read again when it is renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog
from hypercorn.config import Config

log = structlog.get_logger("runtime")


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
        """Read both files again. A pair that can't be used is reported, and the old one stays in use."""
        try:
            self.context = self._read()
        except UnusableCertificate as error:
            log.warning("the certificate can't be used; the old one stays in use", reason=str(error))
        else:
            log.info("the certificate was read again", file=str(self._certificate))

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
            files = f"TLS_CERT_FILE {self._certificate} with TLS_KEY_FILE {self._key}"
            raise UnusableCertificate(f"{files} can't be used: {reason}") from error
        assert context is not None
        # Hypercorn sets the options anew, and this one saves a handshake that a client could ask for at will.
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context
