"""The upstream of the gateway's soak: it responds, misbehaves by path, crashes, and comes back."""

from __future__ import annotations

import random
from functools import partial

import trio

from tests.gateway.wire import Peer

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
WHOLE = {
    b"/ok": OK,
    b"/big": b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n" + bytes(2_000_000),
    b"/hints": HINTS,
}
INCOMPLETE = {b"/cut": CHUNKED + b"3\r\nabc\r\n", b"/garbage": b"\0 what?\r\n\r\n"}
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


async def respond(peer: Peer, head: bytes) -> None:
    """Respond to the request with this head as its path requests."""
    path = head.split(b" ")[1]
    if path == b"/early":
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
    if path in (b"/early", b"/never-read", b"/stall"):
        await trio.sleep_forever()
    await peer.body(head)
    if path in INCOMPLETE:
        await peer.send(INCOMPLETE[path])
        raise EOFError
    if path == b"/events":
        await events(peer)
    else:
        await peer.send(WHOLE.get(path, NOT_FOUND))


async def events(peer: Peer) -> None:
    """Send 50 server-sent events within a second."""
    await peer.send(CHUNKED)
    for _ in range(50):
        await peer.send(b"7\r\ndata: \n\r\n")
        await trio.sleep(0.02)
    await peer.send(b"0\r\n\r\n")


async def serve_upstream(stream: trio.SocketStream) -> None:
    """Serve one connection until it ends."""
    peer = Peer(stream)
    try:
        while True:
            await respond(peer, await peer.until(b"\r\n\r\n"))
    except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def crashing_upstream(port: int, chance: random.Random) -> None:
    """Serve on the port. Every 2 to 8 s, close all connections and refuse new ones for up to 0.7 s."""
    while True:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.serve_tcp, serve_upstream, port, host="127.0.0.1"))
            await trio.sleep(chance.uniform(2, 8))
            nursery.cancel_scope.cancel()
        await trio.sleep(chance.uniform(0, 0.7))
