"""Serves an ASGI app with Hypercorn on trio: binds, serves until the stop, drains and returns."""

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
"""Seconds that requests in flight have to finish after the stop."""

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
    """Serve `app` until `stop` returns, then finish the requests in flight and return.

    sock: a listening socket to use instead of host and port; it is closed at the stop. certificate: for TLS,
    with HTTP/2 for clients that offer it; None: clear text. grace: seconds after the stop until requests that
    are still running are cancelled. task_status: started with the bound port. Raises CannotListen before
    anything else. Cancelling this cancels every request.
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
    """Return Hypercorn's settings. RequestStream adds the Date field, so Hypercorn adds none."""
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
        # Let the handlers of the last accepted connections start.
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(grace):
            while serving:
                await ended.park()
        connections.cancel_scope.cancel()
        admission.abort()
