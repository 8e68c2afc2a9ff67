"""Listening sockets, and the connections that wait in them."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Awaitable, Callable, Iterator

import structlog
import trio

RETRY_SECONDS = 0.1
WARN_SECONDS = 10.0
"""How often it is logged that connections can't be accepted."""
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = structlog.get_logger("runtime")


class CannotListen(Exception):
    """The address can't be listened on; str() says which and why."""


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


async def accept_for_ever(
    listener: trio.SocketListener,
    nursery: trio.Nursery,
    handle: Callable[[trio.SocketStream], Awaitable[None]],
) -> None:
    """Run `handle` in `nursery` for each connection. Where files or memory are lacking, connections wait."""
    warned_at = -math.inf
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            if trio.current_time() >= warned_at + WARN_SECONDS:
                warned_at = trio.current_time()
                log.warning("connections can't be accepted", reason=error.strerror)
            await trio.sleep(RETRY_SECONDS)
        else:
            nursery.start_soon(handle, stream)


def accept_backlog(listener: socket.socket) -> Iterator[trio.SocketStream]:
    """The connections that wait to be accepted now."""
    while True:
        try:
            accepted, _ = listener.accept()
        except ConnectionAbortedError:
            continue  # it has left again
        except OSError:  # none any more
            return
        yield trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
