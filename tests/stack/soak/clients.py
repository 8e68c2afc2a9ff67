"""The clients of the gateway's soak: honest, aborting, and hostile ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from tests.gateway.wire import Peer, connect


def get(path: bytes, version: bytes = b"1.1", *, last: bool = False) -> bytes:
    close = b"Connection: close\r\n" if last else b""
    return b"GET /auth/%b HTTP/%b\r\nHost: g\r\n%b\r\n" % (path, version, close)


async def get_five_times(peer: Peer) -> None:
    """On one connection. Every 200 has its complete body."""
    for _ in range(5):
        await peer.send(get(b"ok"))
        head = await peer.until(b"\r\n\r\n")
        body = await peer.body(head)
        assert body == b"ok" or not head.startswith(b"HTTP/1.1 200"), (head, body)


async def upload(peer: Peer) -> None:
    await peer.send(b"POST /auth/ok HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        await peer.send(b"10000\r\n%b\r\n" % bytes(65536))
    await peer.send(b"0\r\n\r\n")
    await peer.until(b"\r\n\r\n")


async def upload_unread(peer: Peer, path: bytes) -> None:
    await peer.send(b"PUT /auth/%b HTTP/1.1\r\nHost: g\r\nContent-Length: 3000000\r\n\r\n" % path)
    await peer.send(bytes(3_000_000))
    await peer.until(b"\r\n\r\n")


async def download(peer: Peer) -> None:
    await peer.send(get(b"big"))
    head = await peer.until(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        await peer.exactly(2_000_000)


async def read_events(peer: Peer) -> None:
    await peer.send(get(b"events", last=True))
    await peer.rest()


async def get_truncated_body(peer: Peer) -> None:
    """Its response never ends as if it were complete."""
    await peer.send(get(b"cut", last=True))
    got = await peer.rest()
    if got.startswith(b"HTTP/1.1 200"):
        assert not got.endswith(b"0\r\n\r\n")
        raise EOFError


async def get_once(peer: Peer, path: bytes, version: bytes = b"1.1") -> None:
    await peer.send(get(path, version))
    await peer.until(b"\r\n\r\n")


async def pipeline(peer: Peer) -> None:
    await peer.send(get(b"ok") * 20)
    for _ in range(20):
        await peer.body(await peer.until(b"\r\n\r\n"))


async def send_invalid_chunk(peer: Peer) -> None:
    """The response is a single 400, or 502 or 503 while the upstream is away."""
    await peer.send(b"POST /auth/ok HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    got = await peer.rest()
    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.1 502", b"HTTP/1.1 503")), got


VISITS: tuple[Callable[[Peer], Awaitable[None]], ...] = (
    get_five_times,
    upload,
    partial(upload_unread, path=b"early"),
    partial(upload_unread, path=b"never-read"),
    download,
    read_events,
    get_truncated_body,
    pipeline,
    send_invalid_chunk,
    partial(get_once, path=b"hints"),
    partial(get_once, path=b"ok", version=b"1.0"),
    partial(get_once, path=b"garbage"),
    partial(get_once, path=b"stall"),
)


class SoakClients:
    """Clients that make one visit after the other. Every third visit is aborted within 0.3 s."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.port = port
        self.chance = chance
        self.ended: Counter[str] = Counter()

    async def visit_for_ever(self) -> None:
        """Be one client until cancelled. Fails if a visit takes 20 s."""
        while True:
            peer = await connect(self.port)
            patience = self.chance.uniform(0, 0.3) if self.chance.random() < 0.34 else 20.0
            how = "completed"
            with trio.move_on_after(patience) as scope:
                try:
                    await self.chance.choice(VISITS)(peer)
                except (EOFError, trio.BrokenResourceError):
                    how = "broken off"
            self.ended["aborted" if scope.cancelled_caught else how] += 1
            assert not scope.cancelled_caught or patience < 20, "a visit never ended"
            if self.chance.random() < 0.5:
                peer.reset()
            await trio.aclose_forcefully(peer.stream)
