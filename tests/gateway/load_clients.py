"""Clients that never pause, on raw bytes: each notices every request that isn't answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

REQUEST = b"GET /auth/ping HTTP/1.1\r\nHost: gateway\r\n\r\n"


class LoadClients:
    """Counts the results of its clients. refused: connections that weren't accepted; failures: all errors."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = 0
        self.refused = 0
        self.failures: list[str] = []
        self.leaving = False

    async def client(self) -> None:
        """Ask again and again; a connection is closed only if a response announces it."""
        stream: trio.SocketStream | None = None
        while not self.leaving:
            try:
                stream = stream or await trio.open_tcp_stream("127.0.0.1", self._port)
            except OSError:
                self.refused += 1
                await trio.sleep(0.02)
                continue
            stream = await self._ask(stream)
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _ask(self, stream: trio.SocketStream) -> trio.SocketStream | None:
        data = b""
        try:
            await stream.send_all(REQUEST)
            while not data.endswith(b"\r\n\r\nok"):
                piece = await stream.receive_some()
                if not piece:
                    raise trio.BrokenResourceError("closed without an answer")
                data += piece
        except trio.BrokenResourceError as error:
            self.failures.append(f"{error!r} after {data!r}")
            await trio.aclose_forcefully(stream)
            return None
        if not data.startswith(b"HTTP/1.1 200 "):
            self.failures.append(repr(data))
        self.answered += 1
        if b"connection: close" in data.lower():
            await trio.aclose_forcefully(stream)
            return None
        return stream

    async def progress(self, more: int = 50) -> None:
        """Wait until so many more requests are answered."""
        goal = self.answered + more
        await until(lambda: self.answered >= goal)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll until the condition holds: other processes can set no event here."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


@asynccontextmanager
async def load_clients(port: int, clients: int = 8) -> AsyncIterator[LoadClients]:
    """Clients that send requests until the block ends; each then finishes its last request."""
    found = LoadClients(port)
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(found.client)
        try:
            yield found
        finally:
            found.leaving = True
            nursery.cancel_scope.deadline = trio.current_time() + 5


async def pong(stream: trio.SocketStream) -> None:
    """An upstream's side of one connection: ok to everything."""
    async with stream:
        try:
            while await stream.receive_some():
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except trio.BrokenResourceError:
            pass
