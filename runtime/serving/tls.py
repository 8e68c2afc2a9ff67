"""How a process verifies the certificates of the servers it connects to."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A context that verifies certificate and host name. Raises OSError or ssl.SSLError for an unusable file.

    ca_file: PEM certificates of the authorities to trust in place of the system's. OpenSSL finds those, and
    honours SSL_CERT_FILE and SSL_CERT_DIR. Reading them takes 20 ms: make one context and keep it.
    """
    return ssl.create_default_context(cafile=ca_file)
