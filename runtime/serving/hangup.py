"""Detects that the peer has closed a connection, without reading the data it sent before."""

from __future__ import annotations

import select
import sys

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
