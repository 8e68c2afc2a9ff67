"""The HTTP/1.1 protocol between llhttp and Hypercorn's server: requests in order, few writes per response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import (
    Body,
    InformationalResponse,
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.typing import AppWrapper, TaskGroup, WorkerContext

from runtime.header_fields import Fields, encode_fields
from runtime.serving.limits import Limits
from runtime.serving.protocol.incoming_request import BadRequest, IncomingRequest
from runtime.serving.protocol.request_reader import READ_SIZE, RequestReader
from runtime.serving.protocol.stream import LastBody, RequestStream

STREAM_ID = 1

_STATUS_LINE = {one.value: b"HTTP/1.1 %d %b\r\n" % (one, one.phrase.encode()) for one in HTTPStatus}


class Phase(Enum):
    """The part of a request that a connection reads next. Each phase has its own time limit."""

    IDLE = auto()
    """The first byte of a request."""
    HEAD = auto()
    """The rest of a head."""
    RESPONSE = auto()
    """A body, or nothing: a response is in progress."""
    DISCARD = auto()
    """Data that follows the last response. It is read and dropped."""


@dataclass(frozen=True)
class Finished(Event):
    """The last response has ended; no other request will be served.

    linger: the client may still be sending, so closing now would reset the connection and lose the response.
    reset: the response is incomplete, and only a reset shows that to the client.
    """

    linger: bool = False
    reset: bool = False


@dataclass(frozen=True)
class LastData(RawData):
    """The last bytes of a response, which may be written without taking the send lock."""


class Http1Protocol:
    """Serves the requests of one connection, one at a time. Replaces Hypercorn's H11Protocol."""

    shields_writes = False

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        limits: Limits,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._reader = RequestReader(limits.head_bytes)
        self._limits = limits
        self._send = send
        self._task_group = task_group
        self._stream_arguments: tuple[Any, ...] = (
            *(app, config, context, task_group, ssl, client, server),
            self.stream_send,
            STREAM_ID,
        )
        self._stream: RequestStream | None = None
        self._pipelined = b""
        """Bytes of later requests that arrived before the current response ended."""
        self._discarding: IncomingRequest | None = None
        """The request whose response ended before its body."""
        self._head = b""
        """The head of the response, until it is sent with the first piece of the body."""
        self._chunked = False
        self._until_close = False
        self._stopping = False
        self._finished = False
        self._response_ended = trio.Event()
        """Set and replaced when a response ends."""

    @property
    def phase(self) -> Phase:
        """The part of a request that is read next."""
        if self._stream is not None:
            return Phase.RESPONSE
        if self._finished or self._discarding is not None:
            return Phase.DISCARD
        return Phase.HEAD if self._reader.reads_head else Phase.IDLE

    async def initiate(self) -> None:
        """Do nothing: an HTTP/1.1 server sends nothing before the first request."""

    def stop(self) -> None:
        """Close the connection after the current response."""
        self._stopping = True

    async def handle(self, event: Event) -> None:
        """Process data from the client, or its disconnect."""
        if isinstance(event, RawData):
            self.feed(event.data)
        elif isinstance(event, Closed) and self._stream is not None:
            self._stream.close()

    def feed(self, data: bytes) -> None:
        """Process data from the client."""
        if self._finished:
            return
        if self._stream is not None and self._stream.request.body.ended:
            self._pipelined += data
            return
        self._reader.feed(data)
        if self._stream is None:
            self._advance()

    @property
    def has_room(self) -> bool:
        """Whether more data may be buffered now."""
        stream = self._stream
        return stream is None or (stream.request.body.has_room and len(self._pipelined) < READ_SIZE)

    async def wait_for_room(self) -> None:
        """Wait until more data may be buffered."""
        while not self.has_room:
            assert self._stream is not None
            if self._stream.request.body.has_room:
                await self._response_ended.wait()
            else:
                await self._stream.request.body.wait_for_room()

    def _advance(self) -> None:
        """Begin the next request, if its head is complete."""
        if self._discarding is not None and not self._has_discarded(self._discarding):
            return
        reader = self._reader
        while self._stream is None and not self._finished:
            if reader.requests:
                self._begin(reader.requests.popleft())
            elif reader.error is not None:
                self._refuse(reader.error)
            elif self._pipelined:
                self._feed_pipelined()
            else:
                return

    def _feed_pipelined(self) -> None:
        later, self._pipelined = self._pipelined, b""
        for at in range(0, len(later), READ_SIZE):
            self._reader.feed(later[at : at + READ_SIZE])

    def _has_discarded(self, request: IncomingRequest) -> bool:
        if request.body.ended:
            self._discarding = None
        elif self._reader.error is not None:
            self._finished = True
        return request.body.ended

    def _begin(self, request: IncomingRequest) -> None:
        request.close = request.close or self._stopping
        self._stream = RequestStream(request, self._limits, *self._stream_arguments)
        self._stream.start()
        if self._pipelined and not request.body.ended:
            self._feed_pipelined()

    def _refuse(self, error: BadRequest) -> None:
        """Answer an unreadable request and close: the start of the next request is unknown."""
        request = IncomingRequest()
        request.method = self._reader.method
        self._stream = RequestStream(request, self._limits, *self._stream_arguments)
        self._task_group.spawn(self._stream.refuse, error)

    def refuse_slow_head(self) -> None:
        """Answer a request whose head didn't end in time, and close."""
        self._refuse(BadRequest("the head came too slowly"))

    async def stream_send(self, event: StreamEvent) -> None:
        """Write a part of the response."""
        if isinstance(event, LastBody):
            data = self._framed(event.data)
            if self._chunked:
                data += b"0\r\n\r\n"
            if data:
                await self._send(LastData(data))
        elif isinstance(event, Response):
            self._head = self._encode_head(event.status_code, event.headers)
        elif isinstance(event, StreamClosed):
            await self._end_response()
        elif isinstance(event, Body):
            if data := self._framed(event.data):
                await self._send(RawData(data))
        elif isinstance(event, Trailers):
            data = self._framed(b"") + b"0\r\n%b\r\n" % encode_fields(event.headers)
            await self._send(LastData(data))
        elif isinstance(event, InformationalResponse):
            line = _status_line(event.status_code)
            await self._send(RawData(b"%b%b\r\n" % (line, encode_fields(event.headers))))

    def _encode_head(self, status: int, fields: Fields) -> bytes:
        stream = self._stream
        assert stream is not None
        request = stream.request
        if stream.length is None and not stream.bodiless:
            self._chunked = request.version != "1.0"
            self._until_close = not self._chunked
        else:
            self._chunked = self._until_close = False
        # Without 100 (Continue) the client may never send its body, so the connection can't be reused.
        if self._until_close or self._stopping or not stream.sends_body():
            request.close = True
        if self._chunked:
            fields = [*fields, (b"transfer-encoding", b"chunked")]
        if status == 426:
            fields = [*fields, (b"connection", b"close, upgrade" if request.close else b"upgrade")]
        elif request.close:
            fields = [*fields, (b"connection", b"close")]
        return _status_line(status) + encode_fields(fields) + b"\r\n"

    def _framed(self, data: bytes) -> bytes:
        """Return a piece of the body as it is sent, preceded by the head if that is still due."""
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data = self._head + data
            self._head = b""
        return data

    async def _end_response(self) -> None:
        """Close the stream after its response, complete or not, and go on to the next request."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        self._response_ended.set()
        self._response_ended = trio.Event()
        request, body_ended = stream.request, stream.request.body.ended
        stream.close()
        if not stream.is_complete:
            await self._finish(reset=self._until_close)
        elif request.close or (not body_ended and self._reader.error is not None):
            await self._finish(linger=not body_ended or bool(self._pipelined or self._reader.requests))
        elif not body_ended:
            self._discarding = request
            request.body.discard()
        else:
            self._advance()
        if self._stream is None and not self._finished:
            await self._send(Updated(idle=True))

    async def _finish(self, *, linger: bool = False, reset: bool = False) -> None:
        self._finished = True
        await self._send(Finished(linger=linger, reset=reset))


def _status_line(status: int) -> bytes:
    return _STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status
