"""Header fields on every response of an app that keep browsers from misusing it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from quart import Response

SECURITY_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        # Neither JSON nor an error needs anything. A page with scripts has a policy of its own.
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        # Tokens and records travel in requests and responses: no cache may keep them.
        "Cache-Control": "no-store",
    }
)


async def add_security_fields(response: Response) -> Response:
    """Add the fields that the handler hasn't set. For `app.after_request`."""
    for name, value in SECURITY_FIELDS.items():
        response.headers.setdefault(name, value)
    return response


def encoded(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Header fields in the form of ASGI."""
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]
