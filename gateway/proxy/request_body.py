"""The client's side of one request: its body, and whether it is still there."""

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
"""Bytes of a body that are held before its request may be a probe."""
EXPECT_SECONDS = 1.0
"""How long an upstream may leave a client without the 100 (Continue) that it waits for."""


class DownstreamRequest:
    """The request of one client.

    scope: stands around whatever is done for the client. It is cancelled when the client leaves, or when its
    body is larger than `limit` bytes: `gone` and `too_large` say which.
    framing: of the body. awaits_continue: the client holds its body back until it gets 100 (Continue).
    """

    def __init__(self, receive: Receive, limit: int, extensions: Mapping[str, Any]) -> None:
        self._receive = receive
        self._limit = limit
        self._size = 0
        self._left = False
        self._ahead: deque[bytes] = deque()
        self._ended = True
        self._may_send: trio.Event | None = None
        self.scope = trio.CancelScope()
        self.too_large = False
        watch = extensions.get(asgi.CANCEL_WHEN_LEFT)
        self.is_watched = watch is not None
        """Whether the server itself cancels `scope` when the client leaves; else `watch` has to run."""
        if watch is not None:
            watch(self.scope)

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._left or (self.is_watched and self.scope.cancel_called and not self.too_large)

    def expect(self, framing: Framing, *, awaits_continue: bool = False) -> None:
        """Say what body there is, before the first wait. held_back: the client waits for 100 (Continue)."""
        self._ended = framing.empty
        if awaits_continue:
            self._may_send = trio.Event()

    def let_send(self) -> None:
        """The upstream asks for the body that the client holds back."""
        if self._may_send is not None:
            self._may_send.set()

    async def body_buffered_within(self, seconds: float) -> bool:
        """Whether all of the body, or READ_AHEAD bytes of it, arrive in so many seconds."""
        self.let_send()
        held = sum(map(len, self._ahead))
        with trio.move_on_after(seconds):
            while not self._ended and held < READ_AHEAD:
                piece = await self._read()
                self._ahead.append(piece)
                held += len(piece)
        return self._ended or held >= READ_AHEAD

    async def watch(self) -> None:
        """Wait for the client to leave. Only for a request whose body has ended, or that has none."""
        while not self._left:
            if (await self._receive())["type"] == "http.disconnect":
                self._leave()

    async def next_piece(self) -> bytes | None:
        """The next piece of the body, None at its end. Doesn't return once the client has left."""
        if self._ahead:
            return self._ahead.popleft()
        if self._ended:
            return None
        if self._may_send is not None:
            with trio.move_on_after(EXPECT_SECONDS):
                await self._may_send.wait()
            self._may_send = None
        return await self._read()

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._leave()
            await trio.sleep_forever()
        piece: bytes = message.get("body", b"")
        self._ended = not message.get("more_body", False)
        self._size += len(piece)
        if self._size > self._limit:
            self.too_large = True
            self.scope.cancel()
            await trio.sleep_forever()
        return piece

    def _leave(self) -> None:
        self._left = True
        self.scope.cancel()


class RequestBodyStream(httpx.AsyncByteStream):
    """The pieces of a request's body, as an upstream connection takes them.

    While it waits for the client, the upstream's time stands still: `limit` expires `upstream_timeout`
    seconds after the last piece was taken, or when it has waited `client_wait_budget` seconds in all.
    waited: seconds that the client has let it wait. awaits_client: it waits for the client now.
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
        self._limit.due = start + self._budget
        self.awaits_client = True
        piece = await self._request.next_piece()
        # Not where this is cancelled: whoever has run out of time asks who let it wait.
        self.awaits_client = False
        now = self._now()
        self.waited += now - start
        self._budget -= now - start
        self._limit.due = now + self._upstream_timeout
        if piece is None:
            raise StopAsyncIteration
        return piece
