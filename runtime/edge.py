"""HTTP/1.1 towards clients that nobody trusts: one connection, its requests one after the other, as ASGI.

A general server reads more than RFC 9112 allows, reads ahead of the app, and ends a response that was cut as
if it were whole where only the close tells its end. This one reads by `runtime.http1`, reads when the app
does, and takes one task a connection.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import structlog
import trio

from runtime.answering import Answering, refusal
from runtime.edge_exchange import Exchange, Left
from runtime.hangup import hung_up
from runtime.http1 import RequestHead, find_head, read_request
from runtime.http1_bodies import Malformed

READ_SIZE = 64 * 1024
LINGER_SECONDS = 2.0
"""How long a client that still sends has to see its answer."""
PIPELINE_BYTES = 64 * 1024
"""What is read of later requests while one is being answered."""

LAST_CALL = 0.5
"""How long an idle client may still ask when the process is about to stop: it may have asked already."""

App = Callable[..., Awaitable[None]]

log = structlog.get_logger("runtime")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take. Times are seconds.

    head: from a request's first byte to the end of its head; body: between two pieces of its body;
    idle: between two requests; write: for a piece of the answer to be taken.
    upload: of waiting for all of a body, and a second more for every `upload_rate` bytes that come.
    """

    head_bytes: int = 32 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    write_seconds: float = 60.0
    upload_seconds: float = 300.0
    upload_rate: int = 500
    connections: int = 1000


class Connection:
    """Serves one client. `run` it once; `stop` lets the request in flight finish and takes no other.

    is_idle: it waits for a request. Cancelling `run` breaks the connection off.
    """

    def __init__(self, app: App, stream: trio.SocketStream, limits: Limits) -> None:
        self._app = app
        self._stream = stream
        self._limits = limits
        self._buffer = b""
        self._waiting: trio.CancelScope | None = None
        self.idle_since = 0.0
        self._stopping = False
        self._last_call = math.inf
        self._answering: Answering | None = None
        self._patience = limits.upload_seconds
        self._client = _address(stream.socket.getpeername())
        self._server = _address(stream.socket.getsockname())

    @property
    def address(self) -> str:
        """Where the client is."""
        return self._client[0]

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the first byte of a request."""
        return self._waiting is not None and not self._buffer

    def stop(self, last_call: float = 0.0) -> None:
        """Close when the request in flight is answered; where none is or comes in `last_call` seconds."""
        self._stopping = True
        self._last_call = trio.current_time() + last_call
        if self._answering is not None and not self._answering.began:
            # One whose head doesn't say so leaves the connection open for a last call, too.
            self._answering.close = True
        if self.is_idle and self._waiting is not None:
            self._waiting.deadline = self._last_call

    async def run(self) -> None:
        """Serve until either side closes."""
        try:
            while await self._serve_one():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, Left):
            pass
        except Exception:
            # One connection must not end the others.
            log.exception("a connection failed")
        finally:
            self._end()

    async def _serve_one(self) -> bool:
        """Answer one request. Whether there may be another on this connection."""
        try:
            head = await self._head()
        except Malformed as error:
            await self._refuse(error, self._buffer.partition(b" ")[0])
            return False
        if head is None:
            return False
        one = Exchange(self, head)
        self._answering = one.answering
        self._patience = self._limits.upload_seconds
        await self._run_app(one)
        return await self._finish(one)

    async def _head(self) -> RequestHead | None:
        """The next request's head; None where none comes. Raises Malformed, also where it is too slow."""
        seen = 0
        self.idle_since = trio.current_time()
        with trio.CancelScope(deadline=self.idle_since + self._limits.idle_seconds) as self._waiting:
            while True:
                # An empty line before a request is a leftover of the one before it.
                if seen < 2 and self._buffer.startswith(b"\r\n"):
                    self._buffer = self._buffer[2:]
                    seen = 0
                if self._buffer:
                    size = find_head(self._buffer, self._limits.head_bytes, seen)
                    if size:
                        break
                    if not seen:
                        self._waiting.deadline = trio.current_time() + self._limits.head_seconds
                    seen = len(self._buffer)
                elif self._stopping:
                    self._waiting.deadline = self._last_call
                self._buffer += await self.read()
        waiting, self._waiting = self._waiting, None
        if waiting.cancelled_caught:
            if seen:
                raise Malformed("the head came too slowly")
            return None
        head = read_request(self._buffer[:size])
        self._buffer = self._buffer[size:]
        return head

    async def _run_app(self, one: Exchange) -> None:
        try:
            await self._app(one.scope(self._client, self._server), one.receive, one.send)
        except Exception:
            log.exception("the app failed")
            if one.fault is None and not one.answering.began:
                one.fault = Malformed("internal error", 500)

    async def _finish(self, one: Exchange) -> bool:
        answering = one.answering
        if one.fault is not None and not answering.began:
            await self._refuse(one.fault, one.method)
            return False
        if not answering.ended:
            return False
        if not one.body.done and not answering.close:
            with trio.move_on_after(LINGER_SECONDS):
                await one.discard()
        if answering.close or not one.body.done:
            await self._close(unread=bool(self._buffer) or not one.body.done)
            return False
        return True

    async def _refuse(self, error: Malformed, method: bytes) -> None:
        """Answer what can't be read, and close: nobody knows where the next request would begin."""
        request_id = token_hex(16)
        client = self._client[0]
        log.warning(
            "request refused", reason=str(error), status=error.status, client=client, request_id=request_id
        )
        await self.write(refusal(error.status, str(error), request_id, bodiless=method == b"HEAD"))
        await self._close(unread=True)

    async def _close(self, *, unread: bool) -> None:
        """Close so that the answer isn't lost in a reset: what the client still sends is read for a while."""
        await self._stream.send_eof()
        if unread:
            await linger(self._stream)

    def _end(self) -> None:
        if self._answering is not None and self._answering.until_close and not self._answering.ended:
            # The close would be the body's end: only a reset tells that it isn't whole.
            self._reset_on_close()
        self._stream.socket.close()

    def _reset_on_close(self) -> None:
        with suppress(OSError):  # it is closed already
            self._stream.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    async def read(self) -> bytes:
        """What comes next. Raises Left where nothing will."""
        data = await self._stream.receive_some(READ_SIZE)
        if not data:
            raise Left
        return bytes(data)

    async def write(self, data: bytes) -> None:
        """Send all of it, if the client takes it in time; else the connection is closed, and Left raised."""
        with trio.move_on_after(self._limits.write_seconds) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._reset_on_close()
            self._stream.socket.close()
            raise Left

    async def more_body(self) -> None:
        """Read on. Raises Malformed where nothing comes in time, or too little for too long."""
        limits, start = self._limits, trio.current_time()
        with trio.move_on_after(min(limits.body_seconds, self._patience)) as scope:
            piece = await self.read()
        if scope.cancelled_caught:
            raise Malformed("the body came too slowly", 408)
        self._buffer += piece
        earned = len(piece) / limits.upload_rate - (trio.current_time() - start)
        # Less than none, where the piece came at the last moment, or we were late to see it.
        self._patience = max(0.0, min(limits.upload_seconds, self._patience + earned))

    async def left(self) -> None:
        """Wait until the client has left. Later requests that it sends meanwhile are kept."""
        try:
            while len(self._buffer) < PIPELINE_BYTES:
                self._buffer += await self.read()
            await self.hung_up()
        except (trio.BrokenResourceError, trio.ClosedResourceError, Left):
            pass

    async def hung_up(self) -> None:
        """Wait until the client has left, reading nothing."""
        await hung_up(self._stream.socket)

    def take(self, one: Exchange) -> bytes:
        """What has come of a request's body."""
        piece, self._buffer = one.body.take(self._buffer)
        return piece

    @property
    def stopping(self) -> bool:
        """Whether no other request will be taken."""
        return self._stopping


async def linger(stream: trio.SocketStream, seconds: float = LINGER_SECONDS) -> None:
    """Read for nobody until the client closes, so that what it was sent isn't lost in a reset."""
    with trio.move_on_after(seconds):
        try:
            while await stream.receive_some(READ_SIZE):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


def _address(name: Any) -> tuple[str, int]:
    return (name[0], name[1]) if isinstance(name, tuple) else ("unknown", 0)
