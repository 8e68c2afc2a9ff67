"""HTTP/1.1 and HTTP/2 on one connection: from bytes to an ASGI app and back."""
