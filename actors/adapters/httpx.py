"""What counts as a failure of an HTTP dependency called through httpx."""

from __future__ import annotations

import httpx


def is_failure(error: BaseException) -> bool:
    """No connection, a timeout, a broken or malformed answer; and 5xx raised by raise_for_status."""
    if isinstance(error, httpx.HTTPStatusError):
        return is_failure_response(error.response)
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def is_failure_response(response: httpx.Response) -> bool:
    """5xx. Any other status is an answer."""
    return response.status_code >= 500
