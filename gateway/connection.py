"""One HTTP/1.1 connection to an upstream, read and written side by side."""

from __future__ import annotations

import ssl

import h11
import httpx
import trio

READ_SIZE = 64 * 1024
HEAD_LIMIT = 64 * 1024
"""A response whose head is longer is malformed."""


class Connection:
    """Serves one request at a time: `send`, then `head`, then `piece` until None; then `recycle`.

    Failures are httpx.TransportError. After cancelling any of the waits it can only be closed.
    """

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self._stream: trio.abc.Stream | None = None
        self._socket: trio.socket.SocketType | None = None
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
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
        body = has_body(request)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._writing = True
        data = self._begin(request)
        if not body:
            data += self._h11.send(h11.EndOfMessage()) or b""
        try:
            await self._write(data)
        except trio.BrokenResourceError:
            # The upstream may have answered before it stopped reading: reading tells what happened.
            return
        if not body:
            self._writing = False
        elif (nursery := request.extensions.get("nursery")) is not None:
            nursery.start_soon(self._pump, request.stream)
        else:
            await self._pump(request.stream)

    def _begin(self, request: httpx.Request) -> bytes:
        target = request.extensions.get("target", request.url.raw_path)
        try:
            event = h11.Request(method=request.method, headers=request.headers.raw, target=target)
            return self._h11.send(event) or b""
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    async def _pump(self, body: httpx.AsyncByteStream) -> None:
        try:
            async for piece in body:
                await self._write(self._h11.send(h11.Data(data=piece)) or b"")
            await self._write(self._h11.send(h11.EndOfMessage()) or b"")
            self._writing = False
        except trio.BrokenResourceError:
            pass  # as above
        except (h11.LocalProtocolError, trio.ClosedResourceError):
            # The answer came first and nobody wants the rest, or the body isn't what its head announced:
            # either way the upstream must not take what it got for the whole.
            self.close()

    async def _write(self, data: bytes) -> None:
        if self._stream is None:
            raise trio.ClosedResourceError
        await self._stream.send_all(data)

    async def head(self) -> h11.Response:
        """The response's head; 1xx are skipped."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event

    async def piece(self) -> bytes | None:
        """The next piece of the body, as it comes; None at its end."""
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type) or event is h11.PAUSED
                return event
            data = await self._read()
            if not data and self._h11.their_state is h11.SEND_RESPONSE:
                raise httpx.RemoteProtocolError("the upstream closed the connection without an answer")
            self._h11.receive_data(data)

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
        states = (self._h11.our_state, self._h11.their_state)
        if not self.is_open or self._writing or states != (h11.DONE, h11.DONE):
            return False
        if self._h11.trailing_data[0]:
            return False
        self._h11.start_next_cycle()
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


def has_body(request: httpx.Request) -> bool:
    """Whether the fields announce a body."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
