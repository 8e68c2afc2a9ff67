"""Adds the header fields against misuse by browsers to the responses of an app."""

from __future__ import annotations

from quart import Response

from runtime.header_fields import SECURITY_FIELDS


async def add_security_fields(response: Response) -> Response:
    """Add the fields that the handler hasn't set. For `app.after_request`."""
    for name, value in SECURITY_FIELDS.items():
        response.headers.setdefault(name, value)
    return response
