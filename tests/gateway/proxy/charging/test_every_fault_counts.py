"""A service that is down, in any way, opens its own breaker after `max_failures` requests, and no other."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from actors import State
from tests.certificates import TestCertificate
from tests.gateway.raw_requests import GET, envelope
from tests.gateway.running_gateway import RunningGateway, served
from tests.gateway.wire import Peer, Script, answering, connect, ok, upstream

FAILURES = 5
SECONDS = 0.3
"""How long a service may take to answer."""
LAG = 2.0
"""The delay that a busy machine may add to all requests together."""


async def resets_at_once(peer: Peer) -> None:
    peer.reset()


async def resets_a_request(peer: Peer) -> None:
    await peer.until(b"\r\n\r\n")
    peer.reset()


async def closes_at_a_request(peer: Peer) -> None:
    await peer.until(b"\r\n\r\n")


async def never_answers(peer: Peer) -> None:
    await peer.rest()


async def sends_a_slow_head(peer: Peer) -> None:
    await peer.until(b"\r\n\r\n")
    for letter in ok():
        await peer.send(bytes([letter]))
        await trio.sleep(0.05)


CUT = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", then_close=True)
CUT_CHUNK = answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", then_close=True)
UNMARKED = b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno"
STRANGER = b"HTTP/1.1 503 No\r\nx-failure-origin: school-database\r\ncontent-length: 2\r\n\r\nno"

FAULTS: dict[str, tuple[Script, int]] = {
    "reset on accept": (resets_at_once, 502),
    "reset after the request": (resets_a_request, 502),
    "closed after the request": (closes_at_a_request, 502),
    "black hole": (never_answers, 504),
    "slow head": (sends_a_slow_head, 504),
    "garbage": (answering(b"\0\xff what?\r\n\r\n", then_close=True), 502),
    "a head that isn't whole": (answering(b"HTTP/1.1 200 OK\r\nconte", then_close=True), 502),
    "500 without a mark": (answering(UNMARKED % 500), 500),
    "502": (answering(UNMARKED % 502), 502),
    "503 without an origin": (answering(UNMARKED % 503), 503),
    "503 of a breaker that isn't its own": (answering(STRANGER), 503),
    "504": (answering(UNMARKED % 504), 504),
    "a body cut short": (CUT, 200),
    "a chunk cut short": (CUT_CHUNK, 200),
}


async def status_of(port: int, data: bytes = GET) -> tuple[int, bytes, bytes]:
    """Status, head, and the part of the body that arrived."""
    peer = await connect(port)
    with trio.fail_after(3):
        await peer.send(data[:-2] + b"Connection: close\r\n\r\n")
        head = await peer.until(b"\r\n\r\n")
        body = await peer.rest()
    await peer.stream.aclose()
    return int(head.split()[1]), head, body


async def assert_opens(gateway: RunningGateway, status: int, seconds: float = 0.0) -> None:
    """The breaker opens after FAILURES requests of at most `seconds` each, and then rejects at once."""
    start = trio.current_time()
    for number in range(FAILURES):
        assert (await gateway.snapshot()).state is State.CLOSED, number
        assert (await status_of(gateway.port))[0] == status, number
    assert (await gateway.snapshot()).state is State.OPEN
    assert trio.current_time() - start < FAILURES * seconds + LAG
    status, head, body = await status_of(gateway.port)
    assert (status, envelope(body)[0]) == (503, "CIRCUIT_BREAKER_OPEN")
    assert b"\r\nretry-after: 60\r\n" in head.lower()
    assert await gateway.counts() == {"failure": FAILURES, "rejected": 1}
    token = f"Authorization: {gateway.issuer.headers()['Authorization']}\r\n\r\n".encode()
    assert (await status_of(gateway.port, GET.replace(b"/auth/x", b"/schools")[:-2] + token))[0] == 200
    assert await gateway.counts("school-service-http") == {"success": 1}
    assert await gateway.counts("student-service-http") == {}


@asynccontextmanager
async def beside_a_good_one(url: str, **settings: object) -> AsyncIterator[RunningGateway]:
    """A gateway whose auth service is at this URL, and whose school service is well."""
    async with upstream(answering(ok())) as well:
        async with served(auth=url, school=well.url, upstream_timeout=SECONDS, **settings) as gateway:
            yield gateway


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_service_that_is_down_is_a_failure(fault: str) -> None:
    script, status = FAULTS[fault]
    async with upstream(script) as server, beside_a_good_one(server.url) as gateway:
        await assert_opens(gateway, status, SECONDS)
        assert server.connections <= FAILURES


async def test_a_refused_connection_is_a_failure() -> None:
    async with beside_a_good_one("http://127.0.0.1:1") as gateway:
        await assert_opens(gateway, 502)


@pytest.fixture
def pair(tmp_path) -> TestCertificate:
    return TestCertificate(tmp_path)


async def test_an_untrusted_certificate_is_a_failure(pair: TestCertificate) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    async with upstream(over_tls(context)) as server:
        async with beside_a_good_one(server.url.replace("http:", "https:")) as gateway:
            await assert_opens(gateway, 502)


def over_tls(context: ssl.SSLContext) -> Callable[[Peer], AsyncIterator[None]]:
    async def script(peer: Peer) -> None:
        secured = trio.SSLStream(peer.stream, context, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await secured.do_handshake()

    return script


async def test_a_full_backlog_is_a_failure() -> None:
    with trio.socket.socket() as full:
        await full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        async with trio.open_nursery() as nursery:
            held = [trio.socket.socket() for _ in range(4)]
            for one in held:
                nursery.start_soon(_connect, one, address)
            await trio.sleep(0.1)
            url = f"http://127.0.0.1:{address[1]}"
            async with beside_a_good_one(url, upstream_connect_timeout=SECONDS / 2) as gateway:
                await assert_opens(gateway, 502, SECONDS)
            nursery.cancel_scope.cancel()
        for one in held:
            one.close()


async def _connect(sock: trio.socket.SocketType, address: object) -> None:
    with contextlib.suppress(OSError):
        await sock.connect(address)
