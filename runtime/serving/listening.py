"""Listening sockets, and the connections that wait in them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import trio


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


def accept_backlog(listener: socket.socket) -> Iterator[trio.SocketStream]:
    """The connections that wait to be accepted now."""
    while True:
        try:
            yield trio.SocketStream(trio.socket.from_stdlib_socket(listener.accept()[0]))
        except OSError:  # none any more, or it has left again
            return
