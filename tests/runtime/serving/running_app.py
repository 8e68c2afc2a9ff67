"""An ASGI app that is being served on a free port, and clients of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from runtime.serving import Limits, ServerCertificate, serve
from tests.certificates import TestCertificate
from tests.gateway.wire import Peer

App = Callable[[Any, Any, Any], Awaitable[None]]


class RunningApp:
    """The port, the switch that stops it, and whether `serve` has returned."""

    def __init__(self, pair: TestCertificate | None) -> None:
        self.port = 0
        self.pair = pair
        self.certificate = None if pair is None else ServerCertificate(pair.certificate, pair.key)
        self.stop = trio.Event()
        self.ended = trio.Event()

    async def run(self, app: App, grace: float, limits: Limits, task_status: trio.TaskStatus[int]) -> None:
        await serve(
            app,
            host="127.0.0.1",
            port=0,
            grace=grace,
            limits=limits,
            stop=self.stop.wait,
            certificate=self.certificate,
            task_status=task_status,
        )
        self.ended.set()

    async def connect(self, *protocols: str) -> Peer:
        """A client. Over TLS it offers these protocols."""
        stream: Any = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self.pair is not None:
            context = self.pair.client_context(*protocols)
            stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
            await stream.do_handshake()
        return Peer(stream)

    async def talk(self, data: bytes, within: float = 3.0) -> bytes:
        """The whole answer to these bytes until the connection is closed."""
        peer = await self.connect()
        with trio.fail_after(within):
            await peer.send(data)
            answer = await peer.rest()
        await trio.aclose_forcefully(peer.stream)
        return answer


@asynccontextmanager
async def running(
    app: App, pair: TestCertificate | None = None, grace: float = 1.0, within: float = 10.0, **limits: Any
) -> AsyncIterator[RunningApp]:
    """Serve `app` for at most `within` seconds."""
    one = RunningApp(pair)
    with trio.fail_after(within):
        async with trio.open_nursery() as nursery:
            one.port = await nursery.start(partial(one.run, http_only(app), grace, Limits(**limits)))
            yield one
            nursery.cancel_scope.cancel()


def http_only(app: App) -> App:
    """The app, and an answer to ASGI's lifespan."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    return wrapped


async def body_of(receive: Any) -> bytes:
    """The whole body of a request. Raises EOFError if the client leaves before its end."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EOFError
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


async def respond(send: Any, body: bytes = b"ok", status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    """A whole response with a Content-Length."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *fields]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Method, target and body of each request."""
    body = await body_of(receive)
    await respond(send, b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], body))


def plain_context() -> ssl.SSLContext:
    """For a client that doesn't look at certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
