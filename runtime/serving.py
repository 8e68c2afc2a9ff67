"""Serving an ASGI app with Hypercorn on trio: bind first, drain on SIGTERM, then return."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from runtime.edge import LAST_CALL, App, Limits
from runtime.hall import Hall

GRACE = 10.0
"""Seconds that requests in flight have to finish in."""


class CannotListen(Exception):
    """The address can't be listened on; str() says which and why."""


def server_config() -> Config:
    """Hypercorn's settings as every process wants them: no Server field, its log through ours."""
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    # A head that the gateway lets through mustn't be one that breaks its connection to a service.
    config.h11_max_incomplete_size = 64 * 1024
    # Longer than the gateway keeps an idle connection, so that it is the one who closes.
    config.keep_alive_timeout = 75
    return config


def listen(host: str, port: int, backlog: int = 512) -> socket.socket:
    """A listening socket on host:port (port 0: a free one). Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {error}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from error
    return sock


async def stop_signal() -> None:
    """Return when this process is told to stop, by SIGTERM or SIGINT. Only in the main thread."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            structlog.get_logger("runtime").info("stopping", signal=signal.Signals(number).name)
            return


async def serve(
    app: ASGIFramework,
    *,
    host: str,
    port: int,
    grace: float = GRACE,
    config: Config | None = None,
    stop: Callable[[], Awaitable[None]] = stop_signal,
    limits: Limits | None = None,
    sock: socket.socket | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stop` returns, then finish what is in flight and return.

    limits: clients that nobody trusts are served by `runtime.edge`, within these; else Hypercorn serves.
    sock: listens already, in the place of host and port; it is closed when no more clients are taken.

    Binds before anything else and raises CannotListen where it can't; then task_status.started(port bound).
    Requests still running `grace` seconds after the stop are cancelled. Cancelling this cancels every
    request.
    """
    sock = sock or listen(host, port)
    try:
        await _serve(app, sock, config or server_config(), limits, grace, stop, task_status)
    finally:
        sock.close()


async def _serve(
    app: ASGIFramework,
    sock: socket.socket,
    config: Config,
    limits: Limits | None,
    grace: float,
    stop: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[int],
) -> None:
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        host, port = sock.getsockname()[:2]
        structlog.get_logger("runtime").info("listening", host=host, port=port)
        task_status.started(port)
        hall = _HypercornHall(wrapped, config, state) if limits is None else Hall(cast("App", app), limits)
        await _accept(hall, sock, grace, stop)
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


async def _accept(
    hall: Hall | _HypercornHall,
    sock: socket.socket,
    grace: float,
    stop: Callable[[], Awaitable[None]],
) -> None:
    streams: set[trio.SocketStream] = set()
    ended = trio.lowlevel.ParkingLot()

    async def handle(stream: trio.SocketStream) -> None:
        streams.add(stream)
        try:
            await hall.receive(stream)
        finally:
            streams.discard(stream)
            ended.unpark_all()

    # The end of `serve_listeners` closes the listener, but not what waits in its queue.
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock.dup()))
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, handle, [listener], handler_nursery=connections)
            )
            await stop()
            accepting.cancel_scope.cancel()
        # Who has connected already is served; who comes later goes to another process, or is refused.
        for stream in _connected(sock):
            connections.start_soon(handle, stream)
        sock.close()
        await hall.close()
        # Who was accepted last has not begun yet.
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(grace):
            while streams:
                await ended.park()
        connections.cancel_scope.cancel()
        # An answer is sent shielded; only the end of its socket ends a write to a client that has stalled.
        for stream in streams:
            stream.socket.close()


def _connected(listener: socket.socket) -> Iterator[trio.SocketStream]:
    """The connections that wait to be accepted now."""
    while True:
        try:
            yield trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
        except OSError:  # none any more, or it has left again
            return


class _HypercornHall:
    """Where Hypercorn receives clients."""

    def __init__(self, app: AppWrapper, config: Config, state: LifespanState) -> None:
        self._context = WorkerContext(None)
        self._config = config
        self._connection = partial(_Connection, app, config, self._context, ConnectionState(state))

    async def receive(self, stream: trio.SocketStream) -> None:
        """Serve one client."""
        await self._connection(cast("Any", stream))

    async def close(self) -> None:
        """Let nobody ask again: each answer says that its connection will close."""
        self._config.keep_alive_max_requests = 0
        await self._context.terminated.set()


class _Connection(TCPServer):
    """Hypercorn's connection, with four holes closed."""

    _reading = True

    async def run(self) -> None:
        """Serve until it closes; a fault in it ends this connection, not the process."""
        try:
            await super().run()
        except Exception:  # noqa: BLE001 - one connection must not end the others
            structlog.get_logger("runtime").exception("a connection failed")

    async def protocol_send(self, event: Event) -> None:
        """Write; and start no timer for the next request where no request can come."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif self._reading or not isinstance(event, Updated):
            await super().protocol_send(event)

    async def _write(self, data: bytes) -> None:
        # Hypercorn shields this: a client that has stopped reading could not be given up, not even at the
        # end of the process. What is cut off in the middle can't be carried on, so the connection goes too.
        async with self.send_lock:
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self.protocol.handle(Closed())
            except trio.Cancelled:
                await trio.aclose_forcefully(self.stream)
                raise

    async def _idle_timeout(self) -> None:
        with trio.move_on_after(self.config.keep_alive_timeout):
            await self.context.terminated.wait()
            await trio.sleep(LAST_CALL)
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()

    async def _read_data(self) -> None:
        await super()._read_data()
        # The client has closed; without this the socket stays open until the keep-alive's end.
        self._reading = False
        await self.idle_task.stop()


def run_process(main: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run a process's `main` on trio; an address that can't be listened on is one line and exit 1."""
    _raise_file_limit()
    try:
        trio.run(partial(main, *args))
    except (CannotListen, BaseExceptionGroup) as error:
        refused = _refused(error)
        if not refused:
            raise
        print("\n".join(refused), file=sys.stderr)
        raise SystemExit(1) from None


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual soft limit is less than the connections we allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _refused(error: BaseException) -> list[str]:
    """What CannotListen says, where there is nothing else in `error`."""
    if isinstance(error, CannotListen):
        return [str(error)]
    if not isinstance(error, BaseExceptionGroup) or error.split(CannotListen)[1] is not None:
        return []
    return [line for leaf in error.exceptions for line in _refused(leaf)]
