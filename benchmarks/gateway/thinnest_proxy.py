"""Servers without the gateway: `app` answers by itself; with UPSTREAM set, a proxy forwards every request.

The proxy uses the gateway's server and its connections to services, and nothing else: no breaker, tokens,
limits, header rules or log.
"""

from __future__ import annotations

import os

import httpx
import trio

from gateway.upstream.pool import ConnectionPoolTransport
from runtime.serving import Limits, serve

_BODY = b'{"message": "ok", "data": null}'
_HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))],
}


async def app(scope, receive, send):
    """An ASGI application that returns the same small response to every request."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await receive()
    await send(_HEAD)
    # Hypercorn cancels the application from within the final send.
    with trio.CancelScope(shield=True):
        await send({"type": "http.response.body", "body": _BODY, "more_body": False})


async def _lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class ThinnestProxy:
    """An ASGI application that forwards method, target and headers, and streams the response back."""

    def __init__(self, upstream: str) -> None:
        self._url = httpx.URL(upstream)
        self._transport = ConnectionPoolTransport(upstream)

    async def __call__(self, scope, receive, send):
        """Handle one ASGI connection: a request or the lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        target = scope["raw_path"].removeprefix(b"/auth")
        extensions = {"target": target}
        request = httpx.Request(scope["method"], self._url, headers=scope["headers"], extensions=extensions)
        response = await self._transport.handle_async_request(request)
        fields = response.headers.raw
        await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
        piece = response.stream.buffered()
        async for more in response.stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = more
        await send({"type": "http.response.body", "body": piece, "more_body": False})


async def main() -> None:
    """Serve on the port in the environment variable PORT."""
    served = ThinnestProxy(os.environ["UPSTREAM"]) if "UPSTREAM" in os.environ else app
    await serve(served, host="127.0.0.1", port=int(os.environ["PORT"]), limits=Limits(connections=5000))


if __name__ == "__main__":
    trio.run(main)
