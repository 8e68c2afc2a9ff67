"""The body of a client's request, as it arrives; and whether the client is still connected."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import trio

from gateway.proxy.headers import Framing
from runtime.asgi import Receive
from runtime.serving import extensions as asgi
from runtime.serving.loop_time import TimeLimit

READ_AHEAD = 512 * 1024
"""Bytes of a body to buffer before its request may act as a probe."""
EXPECT_SECONDS = 1.0
"""Seconds after which the body is read although the upstream has sent no 100 (Continue)."""


class DownstreamRequest:
    """The body and the connection of one client's request.

    scope: surrounds all work for the request. It is cancelled when the client disconnects, or when the body
    is larger than `limit` bytes; then `has_left` or `too_large` is true. is_watched: whether the server
    itself cancels `scope` when the client disconnects; otherwise `watch` must run.
    """

    def __init__(self, receive: Receive, limit: int, extensions: Mapping[str, Any]) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._has_left = False
        self._buffered: deque[bytes] = deque()
        self._ended = True
        self._continue_sent: trio.Event | None = None
        self.scope = trio.CancelScope()
        self.too_large = False
        watch = extensions.get(asgi.CANCEL_ON_DISCONNECT)
        self.is_watched = watch is not None
        if watch is not None:
            watch(self.scope)

    @property
    def has_left(self) -> bool:
        """Whether the client has disconnected."""
        return self._has_left or (self.is_watched and self.scope.cancel_called and not self.too_large)

    def expect(self, framing: Framing, *, awaits_continue: bool = False) -> None:
        """Set the body's framing before it is read. awaits_continue: the client waits for 100 (Continue)."""
        self._ended = framing.empty
        if awaits_continue:
            self._continue_sent = trio.Event()

    def allow_body(self) -> None:
        """Read the body from now on: the upstream has sent 100 (Continue), or it is needed before."""
        if self._continue_sent is not None:
            self._continue_sent.set()

    async def body_buffered_within(self, seconds: float) -> bool:
        """Buffer the start of the body; return whether READ_AHEAD bytes, or all, arrive within `seconds`."""
        self.allow_body()
        buffered_bytes = sum(map(len, self._buffered))
        with trio.move_on_after(seconds):
            while not self._ended and buffered_bytes < READ_AHEAD:
                piece = await self._read()
                self._buffered.append(piece)
                buffered_bytes += len(piece)
        return self._ended or buffered_bytes >= READ_AHEAD

    async def watch(self) -> None:
        """Wait for the client to disconnect. Only for a request whose body has ended, or that has none."""
        while not self._has_left:
            if (await self._receive())["type"] == "http.disconnect":
                self._disconnected()

    async def next_piece(self) -> bytes | None:
        """The next piece of the body; None at its end. Never returns once the client has disconnected."""
        if self._buffered:
            return self._buffered.popleft()
        if self._ended:
            return None
        if self._continue_sent is not None:
            with trio.move_on_after(EXPECT_SECONDS):
                await self._continue_sent.wait()
            self._continue_sent = None
        return await self._read()

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected()
            await trio.sleep_forever()
        piece: bytes = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        self._size += len(piece)
        if self._size > self._limit:
            self.too_large = True
            self.scope.cancel()
            await trio.sleep_forever()
        return piece

    def _disconnected(self) -> None:
        self._has_left = True
        self.scope.cancel()


class RequestBodyStream(httpx.AsyncByteStream):
    """A request's body as an httpx stream, for an upstream connection.

    Seconds in which it waits for the client don't count as the upstream's: it moves `limit`, which expires
    `upstream_timeout` seconds after the upstream was given the last piece, or once the waits for the client
    have taken `client_wait_budget` seconds in all. waited: seconds waited for the client so far, without the
    present wait. awaits_client: whether it is waiting for the client.
    """

    def __init__(
        self,
        request: DownstreamRequest,
        limit: TimeLimit,
        now: Callable[[], float],
        upstream_timeout: float,
        client_wait_budget: float = math.inf,
    ) -> None:
        self._request = request
        self._limit = limit
        self._now = now
        self._upstream_timeout = upstream_timeout
        self._budget = client_wait_budget
        self.waited = 0.0
        self.awaits_client = False

    def __aiter__(self) -> RequestBodyStream:
        return self

    async def __anext__(self) -> bytes:
        start = self._now()
        self._limit.deadline = start + self._budget
        self.awaits_client = True
        piece = await self._request.next_piece()
        # Not in a finally clause: when the limit expires, the call checks whether it was waiting for the
        # client.
        self.awaits_client = False
        now = self._now()
        self.waited += now - start
        self._budget -= now - start
        self._limit.deadline = now + self._upstream_timeout
        if piece is None:
            raise StopAsyncIteration
        return piece
