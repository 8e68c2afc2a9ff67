"""A Quart app that is served on a free port, and reading from a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from quart import request
from quart_trio import QuartTrio

from runtime.serving import serve
from runtime.web.connection import Connection


class ServedQuartApp:
    """An app that is being served, the actions of its handlers, and the switch that stops it."""

    def __init__(self) -> None:
        self.app = QuartTrio("test")
        self.app.asgi_http_class = Connection
        self.app.config["MAX_CONTENT_LENGTH"] = 1000
        self.stop = trio.Event()
        self.entered = trio.Event()
        self.cancelled = trio.Event()
        self.release = trio.Event()
        self.ended = trio.Event()
        self.port = 0
        self.app.add_url_rule("/", "quick", self._quick, methods=["GET", "POST"])
        self.app.add_url_rule("/slow", "slow", self._slow)
        self.app.add_url_rule("/large", "large", self._large)
        self.app.add_url_rule("/read", "read", self._read, methods=["POST"])

    async def _quick(self) -> str:
        return "quick"

    async def _slow(self) -> str:
        self.entered.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return "slow"

    async def _large(self) -> bytes:
        return bytes(50_000_000)

    async def _read(self) -> str:
        return str(len(await request.body))

    async def run(self, grace: float, task_status: trio.TaskStatus[int]) -> None:
        await serve(
            self.app, host="127.0.0.1", port=0, grace=grace, stop=self.stop.wait, task_status=task_status
        )
        self.ended.set()

    async def connect(self, head: str) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(head.encode())
        return stream


@asynccontextmanager
async def served_app(grace: float = 5.0) -> AsyncIterator[ServedQuartApp]:
    """An app on a free port, stopped at the end."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            one = ServedQuartApp()
            one.port = await nursery.start(partial(one.run, grace))
            yield one
            nursery.cancel_scope.cancel()


async def everything(stream: trio.SocketStream) -> bytes:
    """All data until the server closes."""
    with trio.fail_after(5):
        return b"".join([part async for part in stream])


async def until(stream: trio.abc.ReceiveStream, ending: bytes) -> bytes:
    """All data up to `ending`."""
    text = b""
    while not text.endswith(ending):
        part = await stream.receive_some(1)
        assert part, text
        text += part
    return text


GET = "GET {} HTTP/1.1\r\nHost: h\r\n{}\r\n"
