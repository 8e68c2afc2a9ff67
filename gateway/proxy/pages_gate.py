"""The way to the gateway's own pages: their rate limit, and the count of their requests."""

from __future__ import annotations

from gateway.metrics.request_metrics import MeasuredRequest
from gateway.proxy.access import RateLimiter
from gateway.proxy.port_role import ON_EVERY_PORT
from gateway.routes import ASSET_FOLDERS
from runtime.asgi import App, Message, Receive, Scope, Send


def count_page(limiter: RateLimiter, address: str, path: bytes) -> None:
    """Count a request for a page. Raises ApiError (RATE_LIMITED), but never for /livez and /readyz."""
    if path not in ON_EVERY_PORT:
        limiter.count_page(address, asset=path.startswith(ASSET_FOLDERS))


async def serve_page(
    pages: App, scope: Scope, receive: Receive, send: Send, measured: MeasuredRequest
) -> None:
    """Serve a page, and count the request with the status of its response."""
    status: int | None = None

    async def counting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            measured.end(status)
        await send(message)

    try:
        await pages(scope, receive, counting)
    finally:
        measured.end(status)
