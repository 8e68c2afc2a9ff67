"""The server's certificate, which can be reloaded while the server runs."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog
from hypercorn.config import Config

log = structlog.get_logger("runtime")


class UnusableCertificate(Exception):
    """Certificate and key can't be used; str() names both files and the reason."""


class ServerCertificate:
    """A certificate and its key, both PEM files. Raises UnusableCertificate.

    context: for connections accepted from now on; `reload` replaces it.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = self._read()

    def reload(self) -> None:
        """Read both files again. An unusable pair is logged, and the old one stays in use."""
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
        # Without a pass phrase here, OpenSSL would prompt for one on the terminal.
        config.keyfile_password = ""
        try:
            context = config.create_ssl_context()
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or str(error)
            files = f"TLS_CERT_FILE {self._certificate} with TLS_KEY_FILE {self._key}"
            raise UnusableCertificate(f"{files} can't be used: {reason}") from error
        assert context is not None
        # Hypercorn overwrites the options. Renegotiation would let a client cause handshakes at will.
        context.options |= ssl.OP_NO_RENEGOTIATION
        return context
