"""Serving an ASGI app with Hypercorn on trio: bind first, drain at the stop, then return."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import wrap_app

from runtime.serving.admission import ConnectionAdmission
from runtime.serving.certificate import ServerCertificate
from runtime.serving.limits import SERVICE_LIMITS, Limits
from runtime.serving.listening import accept_backlog, accept_for_ever, listen
from runtime.serving.process import stop_signal

GRACE = 10.0
"""Seconds that requests in flight have to finish in."""

Stop = Callable[[], Awaitable[None]]


async def serve(
    app: ASGIFramework,
    *,
    host: str,
    port: int,
    limits: Limits = SERVICE_LIMITS,
    grace: float = GRACE,
    stop: Stop = stop_signal,
    sock: socket.socket | None = None,
    certificate: ServerCertificate | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stop` returns, then finish what is in flight and return.

    sock: listens already, in the place of host and port. It is closed when no more clients are accepted.
    certificate: TLS is spoken, with HTTP/2 where the client asks for it.

    Binds before anything else and raises CannotListen where it can't; then task_status.started(port bound).
    Requests still running `grace` seconds after the stop are cancelled. Cancelling this cancels every
    request.
    """
    sock = sock or listen(host, port)
    try:
        await _serve(app, sock, limits, grace, stop, certificate, task_status)
    finally:
        sock.close()


async def _serve(
    app: ASGIFramework,
    sock: socket.socket,
    limits: Limits,
    grace: float,
    stop: Stop,
    certificate: ServerCertificate | None,
    task_status: trio.TaskStatus[int],
) -> None:
    config = _config()
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        host, port = sock.getsockname()[:2]
        structlog.get_logger("runtime").info("listening", host=host, port=port, tls=certificate is not None)
        task_status.started(port)
        await _accept(ConnectionAdmission(wrapped, config, limits), sock, certificate, grace, stop)
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


def _config() -> Config:
    """Hypercorn's settings: its log through ours. A response's fields are the app's and RequestStream's."""
    config = Config()
    config.include_server_header = False
    config.include_date_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


async def _accept(
    admission: ConnectionAdmission,
    sock: socket.socket,
    certificate: ServerCertificate | None,
    grace: float,
    stop: Stop,
) -> None:
    ended = trio.lowlevel.ParkingLot()
    serving = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal serving
        serving += 1
        try:
            await admission.serve(stream, None if certificate is None else certificate.context)
        finally:
            serving -= 1
            ended.unpark_all()

    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock.dup()))
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(accept_for_ever, listener, connections, handle)
            await stop()
            accepting.cancel_scope.cancel()
        listener.socket.close()
        # Accept what is already in the listen backlog, then close the socket. Later connections go to another
        # worker, or are refused.
        for stream in accept_backlog(sock):
            connections.start_soon(handle, stream)
        sock.close()
        admission.close()
        # What was accepted last has not begun yet.
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(grace):
            while serving:
                await ended.park()
        connections.cancel_scope.cancel()
        admission.break_off()
