"""What an app has sent on one HTTP/2 stream and the client's windows don't let through yet."""

from __future__ import annotations

import trio
from hypercorn.protocol.h2 import BufferCompleteError

HIGH_WATER = 32 * 1024
"""An app that sends waits while so many bytes wait for the client."""


class SendBuffer:
    """Filled by the app, emptied by the task that sends, in the place of Hypercorn's StreamBuffer.

    That one lets the app go on when nothing could be sent, so that it holds as much as the app has.
    complete: the response is complete, and all of it was taken.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_last = False
        self._changed = trio.Event()

    @property
    def complete(self) -> bool:
        """Whether all of the response was taken."""
        return self._is_last and not self._buffer

    async def push(self, data: bytes) -> None:
        """Add a piece; wait until less than HIGH_WATER is left. BufferCompleteError: it was closed."""
        if self._is_last:
            raise BufferCompleteError
        self._buffer += data
        while len(self._buffer) >= HIGH_WATER:
            await self._changed.wait()

    def set_complete(self) -> None:
        """Nothing more comes."""
        self._is_last = True

    async def drain(self) -> None:
        """Wait until all was taken."""
        while self._buffer:
            await self._changed.wait()

    def pop(self, size: int) -> bytes:
        """Take at most `size` bytes."""
        data = bytes(self._buffer[:size])
        if data:
            del self._buffer[:size]
            self._wake()
        return data

    async def close(self) -> None:
        """Drop what is there: nobody will take it."""
        self._is_last = True
        self._buffer.clear()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
