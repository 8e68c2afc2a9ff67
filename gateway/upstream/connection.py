"""One HTTP/1.1 connection to an upstream, which reads and writes concurrently."""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable

import httpx
import trio

from actors.adapters.shortage import is_shortage
from gateway.upstream.addresses import Resolver, connect_to_any
from gateway.upstream.response_reader import MalformedResponse, ResponseHead, ResponseReader
from runtime.header_fields import TOKEN, Fields, InvalidField, encode_fields
from runtime.observability.reasons import reason_of

READ_SIZE = 64 * 1024
INTERIM_LIMIT = 32
"""The most 1xx responses before the final one."""

_METHOD = re.compile(TOKEN)
_TARGET = re.compile(rb"[\x21-\x7e]+")

Interim = Callable[[int, Fields], Awaitable[None]]


class LocalShortage(httpx.PoolTimeout):
    """The gateway lacks files, memory or ports for a connection.

    It is no evidence of the upstream's health.
    """


class UpstreamConnection:
    """Serves one request at a time: `send`, then `head`, then `piece` until None, then `reset_for_reuse`.

    Before the first request, `open` it. resolver: resolves the host of `url`. context: verifies the server's
    certificate; required for https. All methods raise httpx.TransportError. After cancelling one of them, the
    connection can only be closed.
    """

    def __init__(self, url: httpx.URL, resolver: Resolver, context: ssl.SSLContext | None) -> None:
        self._url = url
        self._resolver = resolver
        self._context = context
        self._stream: trio.abc.Stream | None = None
        self._socket: trio.socket.SocketType | None = None
        self._reader = ResponseReader()
        self._writing = False
        self.received_any = False
        """Whether any byte of the present response was received."""
        self.opened_at = 0.0
        """When it was opened, on trio's clock."""
        self.usable_until = 0.0
        """The time until which it may be kept idle, on trio's clock."""

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._stream is not None

    async def open(self, timeout: float) -> None:
        """Connect in `timeout` seconds, look-up and TLS handshake included.

        Raises httpx.ConnectError, httpx.ConnectTimeout or LocalShortage; then no part of a request was sent.
        """
        with trio.move_on_after(timeout) as scope:
            try:
                await self._connect()
            except (OSError, UnicodeError, trio.BrokenResourceError) as error:
                kind = LocalShortage if is_shortage(error) else httpx.ConnectError
                raise kind(f"{self._url}: {reason_of(error)}") from error
        if scope.cancelled_caught:
            raise httpx.ConnectTimeout(f"{self._url}: no connection within {timeout:g} s")
        self.opened_at = trio.current_time()

    async def _connect(self) -> None:
        stream = await connect_to_any(await self._resolver.resolve())
        self._socket = stream.socket
        if self._url.scheme != "https":
            self._stream = stream
            return
        assert self._context is not None, "an https upstream needs a context"
        secured = trio.SSLStream(stream, self._context, server_hostname=self._url.host, https_compatible=True)
        await secured.do_handshake()
        self._stream = secured

    async def send(self, request: httpx.Request) -> None:
        """Send the request's head, and start to send its body.

        If sending fails, `head` raises, unless the upstream has responded before.
        """
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._reader.begin(request.method)
        self._writing = True
        left = body_length(request)
        try:
            await self._write(_head(request))
        except trio.BrokenResourceError:
            # The upstream may have responded before it stopped reading: `head` reads the response, or raises.
            return
        if left == 0:
            self._writing = False
        elif (nursery := request.extensions.get("nursery")) is not None:
            nursery.start_soon(self._pump, request.stream, left)
        else:
            await self._pump(request.stream, left)

    async def _pump(self, body: httpx.AsyncByteStream, left: int | None) -> None:
        try:
            async for piece in body:
                if left is None:
                    await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                    continue
                left -= len(piece)
                if left < 0:
                    break
                await self._write(piece)
            if left:
                # The body isn't as long as announced: the upstream must not take it for a whole body.
                self.close()
                return
            if left is None:
                await self._write(b"0\r\n\r\n")
            self._writing = False
        except trio.BrokenResourceError:
            pass  # as above
        except trio.ClosedResourceError:
            pass  # the response has ended, and the rest of the body isn't needed

    async def _write(self, data: bytes) -> None:
        if self._stream is None:
            raise trio.ClosedResourceError
        await self._stream.send_all(data)

    async def head(self, interim: Interim | None = None) -> ResponseHead:
        """Read the head of the final response; pass the 1xx responses before it to `interim`."""
        for _ in range(INTERIM_LIMIT):
            head = await self._next_head()
            if head.status >= 200:
                return head
            if interim is not None:
                await interim(head.status, head.fields)
        raise httpx.RemoteProtocolError("too many interim responses")

    async def _next_head(self) -> ResponseHead:
        reader = self._reader
        try:
            while (head := reader.next_head()) is None:
                await self._receive()
        except MalformedResponse as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return head

    async def piece(self) -> bytes | None:
        """The next piece of the body, as soon as it is received; None at its end."""
        reader = self._reader
        try:
            while not reader.ended:
                if piece := reader.next_piece():
                    return piece
                if not reader.ended:
                    await self._receive()
        except MalformedResponse as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return None

    def buffered(self) -> bytes:
        """The part of the body that has been received already; may be empty. Never waits."""
        try:
            return self._reader.next_piece()
        except MalformedResponse as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    @property
    def trailers(self) -> Fields:
        """The trailers, once the body has ended."""
        return self._reader.trailers

    async def _receive(self) -> None:
        """Pass more bytes, or the end of the stream, to the reader."""
        if data := await self._read():
            self._reader.receive(data)
        else:
            self._reader.end_of_stream()

    async def _read(self) -> bytes:
        if self._stream is None:
            raise httpx.ReadError("the connection was closed")
        try:
            data = await self._stream.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpx.ReadError(f"the upstream broke the connection: {reason_of(error)}") from error
        self.received_any = self.received_any or bool(data)
        return bytes(data)

    def reset_for_reuse(self) -> bool:
        """Prepare for another request; return False if the connection can't serve one."""
        if not self.is_open or self._writing or not self._reader.is_reusable:
            return False
        self.received_any = False
        return True

    def is_stale(self) -> bool:
        """Whether an idle connection is unusable: the upstream has closed it, or sent unexpected bytes."""
        return self._socket is None or bool(self._socket.is_readable())

    def close(self) -> None:
        """Close at once. A task that waits on the connection gets an error. Never waits."""
        if self._socket is not None:
            self._socket.close()
        self._stream = self._socket = None


def _head(request: httpx.Request) -> bytes:
    method, target = request.method.encode(), request.extensions.get("target", request.url.raw_path)
    if not _TARGET.fullmatch(target) or not _METHOD.fullmatch(method):
        raise httpx.LocalProtocolError("the target has bytes that no target may have")
    try:
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, encode_fields(request.headers.raw))
    except InvalidField as error:
        raise httpx.LocalProtocolError(str(error)) from error


def body_length(request: httpx.Request) -> int | None:
    """The length of the body in bytes, as its fields announce it; None if it is chunked."""
    length = 0
    # This single pass is cheaper than look-ups in httpx's headers.
    for name, value in request.headers.raw:
        lower = name.lower()
        if lower == b"transfer-encoding":
            return None
        if lower == b"content-length":
            length = int(value)
    return length


def has_body(request: httpx.Request) -> bool:
    """Whether the fields announce a body."""
    return body_length(request) != 0
