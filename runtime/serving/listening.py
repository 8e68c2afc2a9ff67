"""Listening sockets and their backlogs."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Awaitable, Callable, Iterator

import structlog
import trio

RETRY_SECONDS = 0.1
WARN_SECONDS = 10.0
"""Seconds between two log lines about connections that can't be accepted."""
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = structlog.get_logger("runtime")


class CannotListen(Exception):
    """An address can't be listened on; str() names address and reason."""


def listen(host: str, port: int, backlog: int = 512) -> socket.socket:
    """Return a listening socket, non-blocking. port: 0: any free one. Raises CannotListen."""
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
    """Run `handle` in `nursery` for each connection, until cancelled.

    While the process lacks file descriptors or memory, new connections stay in the backlog.
    """
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
    """Accept the connections in the backlog without waiting."""
    while True:
        try:
            accepted, _ = listener.accept()
        except ConnectionAbortedError:
            continue  # the client has disconnected
        except OSError:  # the backlog is empty
            return
        yield trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
