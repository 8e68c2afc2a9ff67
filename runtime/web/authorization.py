"""The Authorization field of the current request."""

from __future__ import annotations

from quart import request

from runtime.auth import BadToken


def authorization() -> str | None:
    """Return the field; None if there is none.

    Raises BadToken if there are several: another reader of the request may take another one.
    """
    given = request.headers.getlist("Authorization")
    if len(given) > 1:
        raise BadToken("several Authorization fields")
    return given[0] if given else None
