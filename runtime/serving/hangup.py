"""Seeing that the other side of a connection has left, without reading what it sent before."""

from __future__ import annotations

import select
import sys

import trio


async def hung_up(sock: trio.socket.SocketType) -> None:
    """Return when the peer has closed or reset the connection.

    Its end is seen when it has reached this host: that takes room in the socket's buffer for all that was
    sent before it. Only on Linux; elsewhere this waits for ever. Cancelling it changes nothing.
    """
    if sys.platform != "linux":
        await trio.sleep_forever()
    with select.epoll() as watch:
        # Readable bytes aren't asked for: the socket may be full of them.
        watch.register(sock.fileno(), select.EPOLLRDHUP)
        await trio.lowlevel.wait_readable(watch.fileno())
