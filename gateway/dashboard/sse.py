"""The stream of server-sent events, as ASGI messages: the web framework would buffer the response."""

from __future__ import annotations

import json

import trio

from gateway.dashboard.feed import DashboardFeed, Subscriber
from gateway.dashboard.places import StreamPlaces
from protocols.http import Code, failure
from runtime.asgi import App, Message, Receive, Scope, Send
from runtime.header_fields import SECURITY_FIELDS, encoded
from runtime.web.errors import ApiError

PATH = "/dashboard/events"
SEND_SECONDS = 5.0
"""Seconds in which a page must take a message; a slower one is disconnected."""

_HEAD: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"x-accel-buffering", b"no"),
        *encoded(SECURITY_FIELDS),
    ],
}


class EventStream:
    """Serves GET /dashboard/events from `feed`, and passes all other requests to `app`.

    places: limits the number of streams.
    """

    def __init__(self, app: App, feed: DashboardFeed, places: StreamPlaces) -> None:
        self._app = app
        self._feed = feed
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Returning before the response has ended aborts the connection."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        try:
            with self._places.place(scope):
                if self._feed.has_ended:
                    raise ApiError(Code.SERVICE_UNAVAILABLE, "the process stops soon", retry_after=1)
                await self._stream(receive, send)
        except ApiError as error:
            await _refuse(send, error)

    async def _stream(self, receive: Receive, send: Send) -> None:
        with self._feed.subscribe() as subscriber:
            ended = False
            with subscriber.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_until_disconnected, receive, subscriber)
                    ended = await _write(subscriber, send)
                    nursery.cancel_scope.cancel()
            # Outside the scope: the server may report the disconnect from within the final send.
            if ended:
                with trio.move_on_after(SEND_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(subscriber: Subscriber, send: Send) -> bool:
    """Send the messages. Returns True when there are no more, False if the page takes them too slowly."""
    try:
        with trio.fail_after(SEND_SECONDS):
            await send(_HEAD)
        async for message in subscriber.messages:
            with trio.fail_after(SEND_SECONDS):
                await send({"type": "http.response.body", "body": message, "more_body": True})
    except trio.TooSlowError:
        return False
    return True


async def _until_disconnected(receive: Receive, subscriber: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscriber.scope.cancel()


async def _refuse(send: Send, error: ApiError) -> None:
    body = json.dumps(failure(error.code, error.message)).encode()
    fields = [(b"content-type", b"application/json"), *encoded({**SECURITY_FIELDS, **error.headers()})]
    await send({"type": "http.response.start", "status": error.status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
