"""The stream of server-sent events, on ASGI's own messages: a framework would hold the answer back."""

from __future__ import annotations

import json

import trio

from gateway.dashboard.feed import DashboardFeed, Subscriber
from protocols.http import Code, failure
from runtime.asgi import App, Message, Receive, Scope, Send

PATH = "/dashboard/events"
SEND_SECONDS = 5.0
"""How long one message may take to leave: whoever reads slower than that is dropped."""

_HEAD: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ],
}


class EventStream:
    """Serves GET /dashboard/events from `live`, and leaves everything else to `app`."""

    def __init__(self, app: App, live: DashboardFeed) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Returning before the answer's end breaks the viewer's connection off."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
        elif self._live.has_room:
            await self._stream(receive, send)
        else:
            await _turn_away(send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        with self._live.viewer() as viewer:
            ended = False
            with viewer.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_gone, receive, viewer)
                    ended = await _write(viewer, send)
                    nursery.cancel_scope.cancel()
            # Outside the scope: the server reports the viewer gone from within the final send.
            if ended:
                with trio.move_on_after(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(viewer: Subscriber, send: Send) -> bool:
    """Send what comes; True when no more will come, False where the viewer is too slow."""
    try:
        with trio.fail_after(SEND_SECONDS):
            await send(_HEAD)
        async for message in viewer.messages:
            with trio.fail_after(SEND_SECONDS):
                await send({"type": "http.response.body", "body": message, "more_body": True})
    except trio.TooSlowError:
        return False
    return True


async def _until_gone(receive: Receive, viewer: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.scope.cancel()


async def _turn_away(send: Send) -> None:
    body = json.dumps(failure(Code.SERVICE_UNAVAILABLE, "no more viewers now")).encode()
    fields = [(b"content-type", b"application/json"), (b"retry-after", b"5")]
    await send({"type": "http.response.start", "status": 503, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
