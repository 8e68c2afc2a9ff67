"""Response bytes of one HTTP/2 stream that wait for the client's flow-control windows."""

from __future__ import annotations

import trio
from hypercorn.protocol.h2 import BufferCompleteError

HIGH_WATER = 32 * 1024
"""Bytes. An app that sends waits while the buffer is larger."""


class SendBuffer:
    """Filled by the app, emptied by the sending task. Hypercorn's StreamBuffer has no limit."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_last = False
        self._changed = trio.Event()

    @property
    def complete(self) -> bool:
        """Whether the response is complete and was removed entirely."""
        return self._is_last and not self._buffer

    async def push(self, data: bytes) -> None:
        """Append a piece and wait until less than HIGH_WATER is left. Raises BufferCompleteError."""
        if self._is_last:
            raise BufferCompleteError
        self._buffer += data
        while len(self._buffer) >= HIGH_WATER:
            await self._changed.wait()

    def set_complete(self) -> None:
        """Mark the response as complete."""
        self._is_last = True

    async def drain(self) -> None:
        """Wait until the buffer is empty."""
        while self._buffer:
            await self._changed.wait()

    def pop(self, size: int) -> bytes:
        """Remove and return at most `size` bytes."""
        data = bytes(self._buffer[:size])
        if data:
            del self._buffer[:size]
            self._wake()
        return data

    async def close(self) -> None:
        """Drop the contents and refuse further pieces."""
        self._is_last = True
        self._buffer.clear()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
