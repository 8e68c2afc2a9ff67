"""The body of one request: a buffer between connection and app."""

from __future__ import annotations

import trio

HIGH_WATER = 128 * 1024
"""Bytes. A connection isn't read while its buffered body is larger."""


class RequestBody:
    """Filled by the connection, emptied by the app. Only `changed` and `wait_for_room` wait.

    size: buffered bytes. ended: the body is complete. error: why the rest can't be read. disconnected: the
    client has closed the connection.
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
        """Append received bytes."""
        if not self._discards:
            self._pieces.append(data)
            self.size += len(data)
            self._wake()

    def end(self) -> None:
        """Mark the body as complete."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Record that the rest can't be read."""
        self.error = error
        self._wake()

    def disconnect(self) -> None:
        """Record that the client has disconnected, and cancel the registered scope."""
        self.disconnected = True
        if self._scope is not None:
            self._scope.cancel()
        self._wake()
        self._make_room()

    def cancel_on_disconnect(self, scope: trio.CancelScope) -> None:
        """Register the scope that is cancelled when the client disconnects. It replaces an earlier one."""
        self._scope = scope
        if self.disconnected:
            scope.cancel()

    def discard(self) -> None:
        """Drop buffered and future bytes."""
        self._discards = True
        self.take()

    def take(self) -> bytes:
        """Remove and return all buffered bytes."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self.size = 0
        self._make_room()
        return data

    async def changed(self) -> None:
        """Wait until bytes arrive, the body ends or fails, or the client disconnects."""
        if self._arrival is None:
            self._arrival = trio.Event()
        await self._arrival.wait()

    @property
    def has_room(self) -> bool:
        """Whether more may be buffered."""
        return self.size < HIGH_WATER or self.disconnected

    async def wait_for_room(self) -> None:
        """Wait until less than HIGH_WATER is buffered, or the client has disconnected."""
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
