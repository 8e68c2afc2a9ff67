"""The body of an httpx response, whose end is the end of a call through a breaker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import trio

from ..call.guard import Guard
from ..panel.panel import Panel


class CountedBody(httpx.AsyncByteStream):
    """A response's body. Its end is the end of its call.

    ending: settles the call when it is closed. streams: have this call until then.
    """

    def __init__(
        self,
        response: httpx.Response,
        call: Guard,
        ending: AsyncExitStack,
        streams: tuple[StreamingCalls, ...],
    ) -> None:
        self._stream = _stream(response)
        self._pieces = aiter(self._stream)
        self._call = call
        self._ending: AsyncExitStack | None = ending
        self._streams = streams

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            await self._end(None)
            raise
        except BaseException as error:
            await self._end(error)
            raise

    async def aclose(self) -> None:
        """Settle the call if the body hasn't ended, and close the body. Cancelling counts neither way."""
        try:
            # Raises Cancelled if the reader leaves because it is cancelled.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException as error:
            await self._end(error)
            raise
        else:
            await self._end(None)
        finally:
            await self._stream.aclose()

    async def _end(self, error: BaseException | None) -> None:
        """Settle the call, once."""
        ending, self._ending = self._ending, None
        if ending is not None:
            for streaming in self._streams:
                streaming.discard(self._call)
            if error is None:
                await ending.aclose()
            else:
                await ending.__aexit__(type(error), error, error.__traceback__)


class StreamingCalls:
    """Calls `act` for each call that still reads its body `seconds` after its head.

    One task for all of them, and none while there is none: the first to start is the first due.
    """

    def __init__(self, panel: Panel, seconds: float, act: Callable[[Guard], None]) -> None:
        self._panel = panel
        self._seconds = seconds
        self._act = act
        self._due: dict[Guard, float] = {}
        self._watched = False

    def add(self, call: Guard) -> None:
        """Begin the time of a call."""
        self._due[call] = trio.current_time() + self._seconds
        if not self._watched and not self._panel.closed:
            self._watched = True
            self._panel.nursery.start_soon(self._watch)

    def discard(self, call: Guard) -> None:
        """Forget a call that has ended."""
        self._due.pop(call, None)

    async def _watch(self) -> None:
        while self._due:
            call, due = next(iter(self._due.items()))
            if due > trio.current_time():
                await trio.sleep_until(due)
            else:
                del self._due[call]
                self._act(call)
        self._watched = False


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return response.stream


async def read_whole(response: httpx.Response) -> httpx.Response:
    """The response with its body read. Raises what reading raises; cancelling closes the body."""
    stream = _stream(response)
    try:
        body = b"".join([piece async for piece in stream])
    finally:
        await stream.aclose()
    return with_stream(response, httpx.ByteStream(body))


def with_stream(response: httpx.Response, stream: httpx.AsyncByteStream) -> httpx.Response:
    """A copy of the response with `stream` as its body."""
    # Not the response itself: if it was made with its content, it would neither read the stream nor close it.
    extensions: dict[str, Any] = response.extensions
    return httpx.Response(
        response.status_code, headers=response.headers, stream=stream, extensions=extensions
    )
