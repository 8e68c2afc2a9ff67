"""The body of one request: what has arrived and isn't taken yet, and how it ends."""

from __future__ import annotations

import trio

HIGH_WATER = 128 * 1024
"""A connection isn't read any further while so many bytes of a body wait to be taken."""


class RequestBody:
    """Filled by the connection, emptied by the app. No method but `changed` and `room` ever waits.

    ended: all of it has arrived. error: it can't be read any further. left: the client has gone.
    """

    __slots__ = (
        "_arrival",
        "_discards",
        "_pieces",
        "_room",
        "_scope",
        "disconnected",
        "ended",
        "error",
        "size",
    )

    def __init__(self) -> None:
        self.ended = False
        self.disconnected = False
        self.error: Exception | None = None
        self.size = 0
        self._pieces: list[bytes] = []
        self._discards = False
        self._arrival: trio.Event | None = None
        self._room: trio.Event | None = None
        self._scope: trio.CancelScope | None = None

    def push(self, data: bytes) -> None:
        """Add what has arrived."""
        if not self._discards:
            self._pieces.append(data)
            self.size += len(data)
            self._wake()

    def end(self) -> None:
        """All of it has arrived."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest can't be read."""
        self.error = error
        self._wake()

    def disconnect(self) -> None:
        """The client has gone, or has been given up."""
        self.disconnected = True
        if self._scope is not None:
            self._scope.cancel()
        self._wake()
        self._make_room()

    def cancel_on_disconnect(self, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the client leaves: the one of the last call counts."""
        self._scope = scope
        if self.disconnected:
            scope.cancel()

    def discard(self) -> None:
        """Drop what is there and what will come: the response is complete."""
        self._discards = True
        self.take()

    def take(self) -> bytes:
        """All that has arrived."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self.size = 0
        self._make_room()
        return data

    async def changed(self) -> None:
        """Wait until something arrives, or the body ends in one of its ways."""
        if self._arrival is None:
            self._arrival = trio.Event()
        await self._arrival.wait()

    @property
    def has_room(self) -> bool:
        """Whether more of it may be read from the connection."""
        return self.size < HIGH_WATER or self.disconnected

    async def wait_for_room(self) -> None:
        """Wait until less than HIGH_WATER is there, or the client has gone."""
        while not self.has_room:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
