"""Both ends of the wire: an upstream that runs a script, and a client that sends and reads bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection, read and written as bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def until(self, end: bytes) -> bytes:
        """Everything up to and including `end`. Raises EOFError if `end` doesn't come."""
        while end not in self.buffer:
            await self._more()
        found, end, self.buffer = self.buffer.partition(end)
        return found + end

    async def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            await self._more()
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError(self.buffer)
        self.buffer += data

    async def request(self) -> bytes:
        """A whole request: its head and its body."""
        head = await self.until(b"\r\n\r\n")
        return head + await self.body(head)

    async def body(self, head: bytes) -> bytes:
        """The body that follows a head; a chunked one as it stands on the wire."""
        if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", head):
            return await self.exactly(int(length[1]))
        if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            return await self.until(b"0\r\n\r\n")
        return b""

    async def rest(self) -> bytes:
        """Everything until the other side closes, or resets."""
        try:
            while True:
                await self._more()
        except (EOFError, trio.BrokenResourceError):
            found, self.buffer = self.buffer, b""
            return found

    async def closed(self, within: float) -> float:
        """Seconds until the other side has closed; TooSlowError after `within`."""
        start = trio.current_time()
        with trio.fail_after(within):
            await self.rest()
        return trio.current_time() - start

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        self.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER, no time
        self.stream.socket.close()


class Upstream:
    """A server on a free port. Its connections run the scripts in turn, the last one again and again."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.seen: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        try:
            await script(Peer(stream))
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def upstream(*scripts: Script) -> AsyncIterator[Upstream]:
    """A running upstream."""
    server = Upstream(*scripts)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield server
        nursery.cancel_scope.cancel()


def answering(*answers: bytes, then_close: bool = False) -> Script:
    """Answers one request after the other with these bytes, the last one again and again."""

    async def script(peer: Peer) -> None:
        count = 0
        while True:
            await peer.request()
            await peer.send(answers[min(count, len(answers) - 1)])
            count += 1
            if then_close and count == len(answers):
                return

    return script


def ok(body: bytes = b"ok", *fields: bytes) -> bytes:
    """A plain answer."""
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Watch:
    """A stopwatch, started when it is made, that excludes time in which this thread waited for a CPU."""

    def __init__(self) -> None:
        self._start = trio.current_time()
        self._waited = _waited()

    @property
    def seconds(self) -> float:
        return trio.current_time() - self._start - (_waited() - self._waited)


def _waited() -> float:
    """Seconds for which this thread has waited for a CPU; 0 if the system doesn't report them."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


TLS: dict[str, Any] = {}
"""With `certificate` and `context`, every gateway of `served` speaks TLS, and so does `connect`."""


class TlsSocketStream:
    """A TLS stream that can be ended and reset as a socket can."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        transport = stream.transport_stream
        self.send_all, self.receive_some = stream.send_all, stream.receive_some
        self.socket, self.setsockopt = transport.socket, transport.setsockopt
        # As a client that has only stopped sending, or has left: neither waits for the other side.
        self.send_eof, self.aclose = transport.send_eof, transport.aclose


async def connect(port: int) -> Peer:
    """A client of a gateway."""
    stream: Any = await trio.open_tcp_stream("127.0.0.1", port)
    if TLS:
        secured = trio.SSLStream(stream, TLS["context"], server_hostname="127.0.0.1", https_compatible=True)
        await secured.do_handshake()
        stream = TlsSocketStream(secured)
    return Peer(stream)


async def close_at_second_request(peer: Peer):
    """Keeps the connection open after one answer, and closes it only when the second request is there."""
    await peer.request()
    await peer.send(ok())
    await peer.until(b"\r\n\r\n")
