"""A gRPC server for trio that drains on a stop and closes all its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from grpclib.const import Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream
from h2.exceptions import StreamClosedError
from trio_asyncio import aio_as_trio

from runtime import serving
from services.grpc.limits import WINDOWS, limit_messages


class _DrainingServer(Server):
    """A grpclib server that finishes its calls and closes its connections; `close` leaves them open."""

    def __init__(self, services: list[Any]) -> None:
        super().__init__(services, config=WINDOWS)
        self._protocols: list[H2Protocol] = []
        self._calls = 0
        self._stopping = False
        self._idle = trio.Event()
        listen(self, RecvRequest, self._count)

    def _protocol_factory(self) -> H2Protocol:
        self._protocols = [p for p in self._protocols if not _closed(p)]
        protocol = limit_messages(super()._protocol_factory())
        self._protocols.append(protocol)
        return protocol

    async def _count(self, event: RecvRequest) -> None:
        # Health watches and reflection last until the caller ends them. The drain doesn't wait for them.
        if event.method_name.startswith("/grpc."):
            return
        if self._stopping:
            raise GRPCError(Status.UNAVAILABLE, "stopping")
        call = event.method_func

        async def counted(stream: Stream[Any, Any]) -> None:
            self._calls += 1
            try:
                await call(stream)
            except StreamClosedError as error:
                # The caller left before it read the response. grpclib expects a cancellation here.
                raise asyncio.CancelledError from error
            finally:
                self._calls -= 1
                if self._stopping and not self._calls:
                    self._idle.set()

        event.method_func = counted

    async def drain(self) -> None:
        """Refuse new calls, and return when the calls in flight have ended. A trio function."""
        self._stopping = True
        if self._calls:
            await self._idle.wait()

    def end(self) -> None:
        """Cancel the calls in flight and close every connection."""
        self.close()
        for protocol in self._protocols:
            if hasattr(protocol, "processor"):
                protocol.processor.close("the server stops")


def _closed(protocol: H2Protocol) -> bool:
    # The attribute is set after the connection is made, later than the protocol.
    return hasattr(protocol, "connection") and protocol.connection.is_closing()


async def serve_grpc(
    services: list[Any],
    *,
    host: str,
    port: int,
    stop: Callable[[], Awaitable[None]],
    grace: float = serving.GRACE,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve gRPC until `stop` returns, let calls in flight finish for at most `grace` seconds, then return.

    task_status: started with the port once it is bound. port: 0 for any free one. Raises CannotListen if the
    port can't be bound. Cancelling ends all calls at once. Must be used inside `trio_asyncio.open_loop()`.
    """
    sock = serving.listen(host, port)
    server: _DrainingServer = await aio_as_trio(_start)(services, sock)
    try:
        task_status.started(sock.getsockname()[1])
        await stop()
        with trio.move_on_after(grace):
            await server.drain()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await aio_as_trio(_end)(server)


async def _start(services: list[Any], sock: Any) -> _DrainingServer:
    server = _DrainingServer(services)
    await server.start(sock=sock)
    return server


async def _end(server: _DrainingServer) -> None:
    server.end()
