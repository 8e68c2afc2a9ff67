"""Clients that need real sockets: they stall, trickle, read slowly, or hang up anywhere."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.gateway.wire import Peer
from tests.world.charging.clients import FORGED_FIELDS, HOSTILE_BODIES, HOSTILE_IDS, OWN_PAGES, REFUSALS

UPSTREAM_SECONDS = 1.5
"""The gateway's time limit for a service. The slow clients are slower."""
STALL_SECONDS = 1.8
"""How long a piece of a body may take."""
CLIENTS = 5
"""Of one seed."""
LARGE = 300
"""Schools of which a list is too long for the buffers on its way."""
RAW = (
    *(b"GET /schools HTTP/1.1\r\n\r\n", b"GET /schools HTTP/9.9\r\nHost: x\r\n\r\n", b"\0\0\0\0\r\n\r\n"),
    *(b"GET http://evil.example/schools HTTP/1.1\r\nHost: x\r\n\r\n", b"GET  /schools HTTP/1.1\r\n\r\n"),
    b"POST /schools HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /schools HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    b"POST /auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /schools HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
    b"GET /auth/../auth/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot h2",
)


@dataclass
class WireSession:
    """One client. answers: each with the head of its request."""

    port: int
    token: str
    rng: random.Random
    label: str
    answers: list[tuple[bytes, int]] = field(default_factory=list)
    sent: int = 0

    def school(self) -> bytes:
        self.sent += 1
        return json.dumps({"registration_number": f"S-{self.label}-{self.sent}", "name": "North"}).encode()

    def head(self, method: str, path: str, length: int | None = None, **fields: str) -> bytes:
        """The head of a request whose connection is closed afterwards."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close"]
        lines += [f"Authorization: Bearer {self.token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        lines += [] if length is None else [f"Content-Length: {length}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def connect(self, buffer: int | None = None) -> Peer:
        """buffer: bytes that the system takes from the gateway before the client reads."""
        with trio.socket.socket() as made:
            if buffer is not None:
                made.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, buffer)
            await made.connect(("127.0.0.1", self.port))
            kept = trio.socket.socket(fileno=made.detach())
        return Peer(trio.SocketStream(kept))

    async def answer(self, peer: Peer, head: bytes) -> int:
        """The status of the answer, read to its end; 0 where the gateway has only closed."""
        with trio.fail_after(10):
            data = await peer.rest()
        await peer.stream.aclose()
        status = int(data.split()[1]) if data.startswith(b"HTTP/") else 0
        self.answers.append((head[:300], status))
        return status

    async def ask(self, head: bytes, body: bytes = b"") -> int:
        peer = await self.connect()
        await self._send(peer, head + body)
        return await self.answer(peer, head)

    async def _send(self, peer: Peer, data: bytes) -> None:
        try:
            await peer.send(data)
        except trio.BrokenResourceError:
            pass  # it was answered before, and the rest isn't read


WireClient = Callable[[WireSession], Awaitable[None]]


async def honest(session: WireSession) -> None:
    body = session.school()
    assert await session.ask(session.head("POST", "/schools", len(body)), body) == 201
    session.sent += 1
    student: dict[str, Any] = {"roll_number": f"{session.label}-{session.sent}", "first_name": "Ada"}
    body = json.dumps({**student, "last_name": "L", "school_id": 1}).encode()
    assert await session.ask(session.head("POST", "/students", len(body)), body) == 201
    assert await session.ask(session.head("GET", "/schools/1")) == 200
    person = b'{"email": "a@x.org", "password": "lovelace"}'
    # On a real stack all sessions are one client, and its failures are limited.
    assert await session.ask(session.head("POST", "/auth/login", len(person)), person) in (401, 429)


async def trickles(session: WireSession) -> None:
    """It takes longer than a service may, but each piece stays within its limit."""
    body = session.school()
    head, pieces = session.head("POST", "/schools", len(body)), 5
    peer = await session.connect()
    await peer.send(head)
    size = -(-len(body) // pieces)
    for place in range(pieces):
        await trio.sleep(session.rng.uniform(0.7, 1) * UPSTREAM_SECONDS * 1.7 / pieces)
        await peer.send(body[place * size : (place + 1) * size])
    # A machine that is busy lets a piece come too late.
    assert await session.answer(peer, head) in (201, 408)


async def stalls(session: WireSession) -> None:
    head = session.head("POST", session.rng.choice(["/schools", "/students", "/auth/login"]), 100)
    assert await session.ask(head, b"{" * session.rng.randrange(100)) == 408


async def reads_slowly(session: WireSession) -> None:
    head = session.head("GET", "/schools?limit=1000")
    peer = await session.connect(buffer=4096)
    await peer.send(head)
    await peer.until(b"\r\n\r\n")
    await trio.sleep(session.rng.uniform(0.5, 2) * UPSTREAM_SECONDS)
    peer.buffer = b"HTTP/1.1 200 " + peer.buffer
    assert await session.answer(peer, head) == 200


async def dribbles(session: WireSession) -> None:
    """It never pauses for long, but lets the service wait too long in total."""
    peer = await session.connect(buffer=4096)
    await peer.send(session.head("GET", "/schools?limit=1000"))
    with trio.move_on_after(3), suppress(trio.BrokenResourceError):
        while await peer.stream.receive_some(20_000):  # noqa: ASYNC110 - that is how it reads
            await trio.sleep(0.04)
    await peer.stream.aclose()


async def hangs_up(session: WireSession) -> None:
    """It hangs up within or after the head, within or after the body, or during the response."""
    body = session.school()
    whole = session.head("POST", "/schools", len(body)) + body
    cut = session.rng.choice([session.rng.randrange(len(whole)), len(whole) - len(body), len(whole)])
    peer = await session.connect()
    await peer.send(whole[:cut])
    await trio.sleep(session.rng.choice([0, 0.002, 0.02, 0.2]))
    await _leave(session, peer)


async def hangs_up_on_a_stream(session: WireSession) -> None:
    peer = await session.connect(buffer=4096)
    await peer.send(session.head("GET", "/schools?limit=1000"))
    with trio.fail_after(10):
        await peer.exactly(session.rng.choice([1, 300, 20_000]))
    await trio.sleep(session.rng.choice([0, 0.01, 0.3]))
    await _leave(session, peer)


async def _leave(session: WireSession, peer: Peer) -> None:
    if session.rng.random() < 0.5:
        peer.reset()
    else:
        await peer.stream.aclose()


async def malicious(session: WireSession) -> None:
    for _ in range(4):
        number = session.rng.choice(HOSTILE_IDS)
        body = session.rng.choice(HOSTILE_BODIES)
        name, value = session.rng.choice(FORGED_FIELDS)
        forged = {name: value.format(number=session.rng.randrange(256))}
        path = session.rng.choice(OWN_PAGES)
        head, content = session.rng.choice(
            [
                (session.head("POST", "/schools", len(body)), body),
                (session.head("GET", f"/students/school/{number}"), b""),
                (session.head("GET", path, **forged), b""),
                (session.head("GET", "/schools/1", **forged), b""),
            ]
        )
        await session.ask(head, content)


async def breaks_the_protocol(session: WireSession) -> None:
    for _ in range(3):
        peer = await session.connect()
        head = session.rng.choice(RAW)
        await peer.send(head)
        # Some of these bytes may be the start of a longer request.
        with trio.move_on_after(0.5):
            await session.answer(peer, head)
            continue
        await peer.stream.aclose()


async def sends_what_stores_refuse(session: WireSession) -> None:
    """The contract has these answered with 500, as the handler's own error."""
    for _ in range(3):
        session.sent += 1
        number = f"R-{session.label}-{session.sent}"
        value = session.rng.choice(list(REFUSALS))
        body = json.dumps({"registration_number": number, "name": value}).encode()
        head = session.head("POST", "/schools", len(body), X_Forwarded_For=f"198.51.100.{session.sent}")
        assert await session.ask(head, body) == 500


WIRE_CLIENTS: tuple[WireClient, ...] = (
    *(honest, trickles, stalls, reads_slowly, dribbles, hangs_up, hangs_up_on_a_stream, malicious),
    *(breaks_the_protocol, sends_what_stores_refuse),
)


async def play(
    port: int, token: str, seed: int, ran: Counter[WireClient], among: Sequence[WireClient] = WIRE_CLIENTS
) -> None:
    """Run the clients of this seed on the gateway at this port."""
    rng = random.Random(seed)
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            client = rng.choice(among)
            ran[client] += 1
            own = random.Random(f"{seed}/{number}")
            nursery.start_soon(_run, client, WireSession(port, token, own, f"{seed}-{number}"), seed)


async def _run(client: WireClient, session: WireSession, seed: int) -> None:
    await trio.sleep(session.rng.uniform(0, 0.2))
    try:
        await client(session)
        if client is not sends_what_stores_refuse:
            # 501 and 505 refuse the request itself.
            assert not [one for one in session.answers if one[1] >= 500 and one[1] not in (501, 505)]
    except BaseException as error:
        error.add_note(f"seed {seed}: {client.__name__}, told {[status for _, status in session.answers]}")
        raise
