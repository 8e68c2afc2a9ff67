"""Asking a service for a JSON document on the gateway's own account, past its breaker."""

from __future__ import annotations

import json
from typing import Any

import httpx
import trio


async def ask(transport: httpx.AsyncBaseTransport, base_url: str, path: str, *, timeout: float) -> Any:
    """The JSON at `path`, whatever the status; None where the service doesn't give any in `timeout` seconds.

    Cancelling it closes its connection.
    """
    request = httpx.Request("GET", base_url + path, headers={"accept": "application/json"})
    with trio.move_on_after(timeout):
        try:
            response = await transport.handle_async_request(request)
            try:
                return json.loads(await response.aread())
            finally:
                await response.aclose()
        except (httpx.TransportError, ValueError, RecursionError):
            return None
    return None
