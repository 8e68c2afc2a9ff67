"""A client's socket beside its stream: its address, the end of the connection, unread data, a reset."""

from __future__ import annotations

import select
import struct
import sys
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import trio


async def hung_up(sock: trio.socket.SocketType) -> None:
    """Return when the peer has closed or reset the connection.

    The close is detected when it reaches this host, which needs room in the socket's buffer for all data sent
    before it. Only on Linux; elsewhere this waits for ever. Safe to cancel.
    """
    if sys.platform != "linux":
        await trio.sleep_forever()
    with select.epoll() as watch:
        # EPOLLIN is left out: unread data would make the socket ready at once.
        watch.register(sock.fileno(), select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(watch.fileno())


def has_arrived(sock: trio.socket.SocketType) -> bool:
    """Whether unread data has arrived. False on a closed socket."""
    look = select.poll()
    with suppress(OSError, ValueError):  # the socket is closed
        look.register(sock, select.POLLIN)
    return bool(look.poll(0))


def reset_on_close(sock: trio.socket.SocketType) -> None:
    """Make a close reset the connection and drop the data that wasn't sent yet."""
    with suppress(OSError):  # closed already
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


def host_and_port(name: Any) -> tuple[str, int]:
    """The first two parts of a socket's name; ("unknown", 0) for a socket without an address."""
    return (name[0], name[1]) if isinstance(name, tuple) else ("unknown", 0)
