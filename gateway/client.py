"""The client's side of one request: its body, read a little ahead, and whether it is still there."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import trio

from gateway.fields import Framing

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Wait = Callable[[], Awaitable[None]]

READ_AHEAD = 8
"""Pieces of a body that are held for the upstream; a piece is 64 KiB at most."""
EXPECT_SECONDS = 1.0
"""How long an upstream may leave a client without the 100 (Continue) that it waits for."""


class Client:
    """Watches one client. `scope` is around whatever is done for it.

    The scope is cancelled when the client leaves, or when it sends more than `limit` bytes: `gone` and
    `too_large` say which. One task, `watch`, is the only reader of `receive`. hung_up waits for the client to
    leave without reading: that is how a client is seen to leave whose body waits for a stalled upstream.
    """

    def __init__(self, receive: Receive, limit: int, hung_up: Wait = trio.sleep_forever) -> None:
        self._receive = receive
        self._limit = limit
        self._hung_up = hung_up
        self._size = 0
        self.scope = trio.CancelScope()
        self.gone = False
        self.too_large = False
        self.done = False
        """Whether nothing more will come: the whole request was read, or the client left."""
        self._keep: trio.MemorySendChannel[bytes] | None = None
        self._pieces: trio.MemoryReceiveChannel[bytes] | None = None
        self._wanted: trio.Event | None = None
        self._kept_up: trio.Event | None = None

    def expect(self, framing: Framing, *, held_back: bool = False) -> None:
        """Keep the body for `upload`; call it before the first wait. A body nobody expects is discarded.

        held_back: the client waits for 100 (Continue). Its body isn't asked for before `want` was called, or
        EXPECT_SECONDS are over.
        """
        if not framing.empty:
            self._keep, self._pieces = trio.open_memory_channel[bytes](READ_AHEAD)
            self._kept_up = trio.Event()
        if held_back:
            self._wanted = trio.Event()

    def want(self) -> None:
        """The upstream asks for the body that the client holds back."""
        if self._wanted is not None:
            self._wanted.set()

    async def keeps_up(self, seconds: float) -> bool:
        """Whether all of an expected body, or as much as is read ahead, comes in so many seconds."""
        assert self._kept_up is not None
        self.want()
        with trio.move_on_after(seconds):
            await self._kept_up.wait()
        return self._kept_up.is_set()

    async def watch(self) -> None:
        """Read until the client leaves. A body that is expected, but not taken, holds the reading up."""
        if self._wanted is not None:
            with trio.move_on_after(EXPECT_SECONDS):
                await self._unless_left(self._wanted.wait)
        while not self.gone:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            await self._take(message.get("body", b""))
            if not message.get("more_body", False):
                self.done = True
                if self._keep is not None and self._kept_up is not None:
                    self._keep.close()
                    self._kept_up.set()

    def _leave(self) -> None:
        self.gone = self.done = True
        self.scope.cancel()

    async def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit and not self.too_large:
            self.too_large = True
            self.discard()
            self.scope.cancel()
        if piece and self._keep is not None and self._kept_up is not None:
            try:
                self._keep.send_nowait(piece)
            except trio.BrokenResourceError:
                pass  # discarded
            except trio.WouldBlock:
                self._kept_up.set()
                await self._unless_left(lambda: self._hold(piece))

    async def _hold(self, piece: bytes) -> None:
        assert self._keep is not None
        try:
            await self._keep.send(piece)
        except trio.BrokenResourceError:
            pass  # discarded

    async def _unless_left(self, wait: Wait) -> None:
        """Wait, but not longer than the client is there."""

        async def look() -> None:
            await self._hung_up()
            self._leave()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await wait()
            nursery.cancel_scope.cancel()

    def discard(self) -> None:
        """Nobody wants the rest of the body: read on, only to see the client leave."""
        if self._pieces is not None:
            self._pieces.close()

    def upload(self, patience: trio.CancelScope, seconds: float, starving: float = math.inf) -> Upload:
        """The body as the upstream gets it; `patience` expires `seconds` after the last piece was taken.

        starving: seconds for which it may wait for the client in all before `patience` expires.
        """
        return Upload(self._pieces, patience, seconds, starving)


class Upload(httpx.AsyncByteStream):
    """The pieces of a request's body. While it waits for the client, the upstream's time stands still."""

    def __init__(
        self,
        pieces: trio.MemoryReceiveChannel[bytes] | None,
        patience: trio.CancelScope,
        seconds: float,
        starving: float,
    ) -> None:
        self._pieces = pieces
        self._patience = patience
        self._seconds = seconds
        self._starving = starving
        self.starves = False
        """Whether it waits for the client."""

    def __aiter__(self) -> Upload:
        return self

    async def __anext__(self) -> bytes:
        piece = None if self._pieces is None else await self._next(self._pieces)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _next(self, pieces: trio.MemoryReceiveChannel[bytes]) -> bytes | None:
        """The next piece; None: there is none any more."""
        try:
            return pieces.receive_nowait()
        except trio.EndOfChannel:
            return None
        except trio.WouldBlock:
            start = trio.current_time()
            self._patience.deadline = start + self._starving
        self.starves = True
        try:
            piece = await pieces.receive()
        except trio.EndOfChannel:
            piece = None
        # Not where it is cancelled: who has lost patience asks whose fault it was.
        self.starves = False
        now = trio.current_time()
        self._starving -= now - start
        self._patience.deadline = now + self._seconds
        return piece
