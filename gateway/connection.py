"""One HTTP/1.1 connection to an upstream, read and written side by side."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import httpx
import trio

from runtime.http1 import ResponseHead, find_head, read_response, request_bytes
from runtime.http1_bodies import Chunked, Fields, Malformed

READ_SIZE = 64 * 1024
HEAD_LIMIT = 64 * 1024
"""A response whose head is longer is malformed."""
INTERIM_LIMIT = 32
"""So many 1xx responses may come before the answer."""

Interim = Callable[[int, Fields], Awaitable[None]]


class Connection:
    """Serves one request at a time: `send`, then `head`, then `piece` until None; then `recycle`.

    Failures are httpx.TransportError. After cancelling any of the waits it can only be closed.
    """

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._stream: trio.abc.Stream | None = None
        self._socket: trio.socket.SocketType | None = None
        self._buffer = b""
        self._method = ""
        self._head: ResponseHead | None = None
        self._writing = False
        self.heard = False
        """Whether any byte of the present answer came."""
        self.idle_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it was connected, and not closed since."""
        return self._stream is not None

    async def open(self) -> None:
        """Connect. Raises httpx.ConnectError."""
        host, port = self._url.host, self._url.port
        try:
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                secured = await trio.open_ssl_over_tcp_stream(
                    host, port or 443, ssl_context=context, https_compatible=True
                )
                self._stream, self._socket = secured, secured.transport_stream.socket
                await secured.do_handshake()
            else:
                plain = await trio.open_tcp_stream(host, port or 80)
                self._stream, self._socket = plain, plain.socket
        except (OSError, trio.BrokenResourceError) as error:
            raise httpx.ConnectError(f"{self._url}: {error}") from error

    async def send(self, request: httpx.Request) -> None:
        """Send the request's head, and begin with its body. That it can't be sent is told by `head`."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._method = request.method
        self._writing = True
        left = body_length(request)
        try:
            await self._write(_head(request))
        except trio.BrokenResourceError:
            # The upstream may have answered before it stopped reading: reading tells what happened.
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
                # The body isn't what its head announced: the upstream must not take it for the whole.
                self.close()
                return
            if left is None:
                await self._write(b"0\r\n\r\n")
            self._writing = False
        except trio.BrokenResourceError:
            pass  # as above
        except trio.ClosedResourceError:
            pass  # the answer came first, and nobody wants the rest

    async def _write(self, data: bytes) -> None:
        if self._stream is None:
            raise trio.ClosedResourceError
        await self._stream.send_all(data)

    async def head(self, interim: Interim | None = None) -> ResponseHead:
        """The response's head; 1xx before it go to `interim`."""
        for _ in range(INTERIM_LIMIT):
            head = await self._next_head()
            if head.status >= 200:
                self._head = head
                return head
            if head.status == 101:
                raise httpx.RemoteProtocolError("the upstream switches protocols unasked")
            if interim is not None:
                await interim(head.status, head.fields)
        raise httpx.RemoteProtocolError("too many interim responses")

    async def _next_head(self) -> ResponseHead:
        seen = 0
        try:
            while not (size := find_head(self._buffer, HEAD_LIMIT, seen)):
                seen = len(self._buffer)
                data = await self._read()
                if not data:
                    raise httpx.RemoteProtocolError("the upstream closed the connection without an answer")
                self._buffer += data
            head, self._buffer = self._buffer[:size], self._buffer[size:]
            return read_response(head, self._method)
        except Malformed as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    async def piece(self) -> bytes | None:
        """The next piece of the body, as it comes; None at its end."""
        assert self._head is not None
        body = self._head.body
        while not body.done:
            if piece := self.at_hand():
                return piece
            if body.done:
                break
            data = await self._read()
            if not data:
                if not body.ends_with_connection:
                    raise httpx.RemoteProtocolError("the upstream closed the connection within a body")
                body.done = True
            self._buffer += data
        return None

    def at_hand(self) -> bytes:
        """What has come of the body already."""
        assert self._head is not None
        if self._head.body.done or not self._buffer:
            return b""
        try:
            piece, self._buffer = self._head.body.take(self._buffer)
        except Malformed as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return piece

    @property
    def trailers(self) -> Fields:
        """The fields behind the body, at its end."""
        body = self._head.body if self._head is not None else None
        return body.trailers if isinstance(body, Chunked) else []

    async def _read(self) -> bytes:
        if self._stream is None:
            raise httpx.ReadError("the connection was closed")
        try:
            data = await self._stream.receive_some(READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpx.ReadError(f"the upstream broke the connection: {error}") from error
        self.heard = self.heard or bool(data)
        return bytes(data)

    def recycle(self) -> bool:
        """Make it ready for another request; False where that can't be."""
        head = self._head
        if not self.is_open or self._writing or head is None or head.close or not head.body.done:
            return False
        if self._buffer:
            return False
        self._head = None
        self.heard = False
        return True

    def is_stale(self) -> bool:
        """Whether an idle connection can't be used: the upstream closed it, or said what nobody asked."""
        return self._socket is None or bool(self._socket.is_readable())

    def close(self) -> None:
        """Close at once; whoever waits on it gets an error. Never waits."""
        if self._socket is not None:
            self._socket.close()
        self._stream = self._socket = None


def _head(request: httpx.Request) -> bytes:
    target = request.extensions.get("target", request.url.raw_path)
    try:
        return request_bytes(request.method.encode(), target, request.headers.raw)
    except Malformed as error:
        raise httpx.LocalProtocolError(str(error)) from error


def body_length(request: httpx.Request) -> int | None:
    """How many bytes the fields announce; None where only the body's end will tell."""
    if "transfer-encoding" in request.headers:
        return None
    return int(request.headers.get("content-length", "0"))


def has_body(request: httpx.Request) -> bool:
    """Whether the fields announce a body."""
    return body_length(request) != 0
