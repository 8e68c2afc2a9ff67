"""TLS settings for connections to other servers."""

from __future__ import annotations

import ssl
from pathlib import Path


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name. Raises OSError or ssl.SSLError.

    ca_file: PEM certificates of the authorities to trust; None: the system's, or those that SSL_CERT_FILE and
    SSL_CERT_DIR name. Reading certificates takes 20 ms: make one context and keep it.
    """
    return ssl.create_default_context(cafile=ca_file)
