"""How bodies flow: at once, no faster than who takes them, in little memory, and not for who has left."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from gateway.upstream.fetch import LIMIT, fetch_json
from gateway.upstream.pool import ConnectionPoolTransport
from runtime.serving.client_socket import hung_up
from tests.gateway.end_to_end.raw_http import GET, error, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, Watch, answering, connect, ok, upstream

MIB = 1024 * 1024
BIG = 64 * MIB


def resident():
    """This process's memory, in bytes. Both sides of the gateway are in it too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")


class Swallowing:
    """An upstream that counts a body, byte by byte, and keeps none of it."""

    def __init__(self):
        self.size = 0

    async def __call__(self, peer: Peer):
        await peer.until(b"\r\n\r\n")
        self.size = len(peer.buffer)
        while self.size < BIG:
            self.size += len(await peer.stream.receive_some(65536))
        await peer.send(ok())


@needs_proc
@pytest.mark.parametrize("chunked", [False, True])
async def test_64_mib_up(chunked):
    """All of it arrives, and memory stays flat."""
    swallow = Swallowing()
    piece = bytes(MIB)
    before, peak = resident(), 0
    coding = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % BIG
    async with upstream(swallow) as server, served(auth=server.url, max_body_bytes=BIG) as gateway:
        peer = await connect(gateway.port)
        with trio.fail_after(30):
            await peer.send(b"POST /auth/x HTTP/1.1\r\nHost: g\r\n%b\r\n\r\n" % coding)
            for _ in range(BIG // MIB):
                await peer.send(b"100000\r\n%b\r\n" % piece if chunked else piece)
                peak = max(peak, resident())
            await peer.send(b"0\r\n\r\n" if chunked else b"")
            await peer.until(b"\r\n\r\nok")
    assert swallow.size >= BIG
    assert peak - before < 12 * MIB


@needs_proc
@pytest.mark.parametrize("chunked", [False, True])
async def test_64_mib_down(chunked):
    """All of it arrives, and memory stays flat, though the client takes its time."""
    piece = bytes(MIB)

    async def script(peer: Peer):
        await peer.request()
        coding = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % BIG
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % coding)
        for _ in range(BIG // MIB):
            await peer.send(b"100000\r\n%b\r\n" % piece if chunked else piece)
        await peer.send(b"0\r\n\r\n" if chunked else b"")
        await peer.rest()

    before, peak, size = resident(), 0, 0
    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(30):
            await peer.until(b"\r\n\r\n")
            size = len(peer.buffer)
            await trio.sleep(0.2)
            peak = resident()
            while size < BIG:
                size += len(await peer.stream.receive_some(65536))
                peak = max(peak, resident())
    assert peak - before < 12 * MIB


async def test_a_client_that_stalls_stalls_the_upstream():
    """What is held of a download for a client that doesn't take it is bounded."""
    sent = 0

    async def script(peer: Peer):
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % 10**9)
        while True:
            await peer.send(bytes(65536))
            sent += 65536

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")
        await trio.sleep(1)
        stalled = sent
        await trio.sleep(0.2)
        assert sent == stalled < 30_000_000  # the kernel's buffers, mostly
        await peer.stream.aclose()


async def test_a_client_that_takes_nothing_is_given_up():
    """After CLIENT_WRITE_TIMEOUT, and the upstream with it; it's nobody's failure."""
    gone = trio.Event()

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % 10**9)
        try:
            while True:
                await peer.send(bytes(65536))
        finally:
            gone.set()

    async with upstream(script) as server, served(auth=server.url, client_write_timeout=0.2) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(3):
            await gone.wait()
        await trio.sleep(0.05)
        assert await gateway.counts() == {"cancelled": 1}
        await peer.stream.aclose()


async def test_events_arrive_at_once():
    """The head of a stream that says nothing yet, and then each event by itself."""
    said, heard = trio.open_memory_channel[bytes](0)

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        async for event in heard:
            await peer.send(event)

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(2):
            await peer.until(b"\r\n\r\n")
            for n in range(20):
                event = b"data: %d\n\n" % n
                await said.send(event)
                with trio.fail_after(0.2):
                    assert (await peer.until(event + b"\r\n")).endswith(event + b"\r\n")
            await said.aclose()
            assert await peer.until(b"0\r\n\r\n") == b"0\r\n\r\n"


@pytest.mark.parametrize(("size", "reset"), [(0, False), (0, True), (300_000, False), (4_000_000, True)])
async def test_a_client_that_leaves_behind_a_stalled_upload(size, reset):
    """What it sent waits for an upstream that doesn't read; still its leaving ends the request in 100 ms."""

    async def stalled(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await trio.sleep_forever()

    data = b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 9999999\r\n\r\n" + bytes(size)
    async with upstream(stalled) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        with trio.move_on_after(1):
            await peer.send(data)
        await trio.sleep(0.1)
        assert (await gateway.snapshot()).in_flight == 1
        watch = Watch()
        if reset:
            peer.reset()
        else:
            await peer.stream.aclose()
        with trio.fail_after(2):
            while (await gateway.snapshot()).in_flight:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.005)
        assert watch.seconds < 0.1
        assert await gateway.counts() == {"cancelled": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it isn't seen")
@pytest.mark.parametrize("reset", [False, True])
async def test_hung_up_behind_unread_bytes(reset):
    """A close is seen however much was sent before it and isn't read; bytes alone are no close."""

    async def unread(peer: Peer):
        with trio.move_on_after(0.1):
            await hung_up(peer.stream.socket)
            pytest.fail("nobody has left")
        left.set()
        with trio.fail_after(1):
            await hung_up(peer.stream.socket)
        seen.set()

    left, seen = trio.Event(), trio.Event()
    async with upstream(unread) as server:
        peer = await connect(int(server.url.rpartition(":")[2]))
        await peer.send(bytes(50_000))
        await left.wait()
        if reset:
            peer.reset()
        else:
            await peer.stream.aclose()
        with trio.fail_after(1):
            await seen.wait()


@pytest.mark.parametrize("size", [1, 100, 2000])
async def test_a_client_that_leaves_behind_pipelined_requests(size):
    """However many requests it had sent before: the one in flight ends, and none of the others begins."""
    reached, gone = [], trio.Event()
    first = trio.Event()

    async def silent(peer: Peer):
        reached.append(await peer.until(b"\r\n\r\n"))
        first.set()
        await peer.rest()
        gone.set()

    async with upstream(silent) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET * (size + 1))
        with trio.fail_after(2):
            await first.wait()
            # The rest is read, or waits to be.
            await trio.testing.wait_all_tasks_blocked(0.02)
            watch = Watch()
            await peer.stream.aclose()
            await gone.wait()
        assert watch.seconds < 0.1
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(reached) == 1
        assert await gateway.counts() == {"cancelled": 1}


async def test_requests_to_come_wait_with_their_client():
    """What is read of them while one is answered is bounded."""

    async def silent(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await trio.sleep_forever()

    async with upstream(silent) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        sent, stalled = 0, False
        while not stalled and sent < 10_000_000:
            with trio.move_on_after(0.5) as waiting:
                sent += await peer.stream.socket.send(GET * 1500)
            stalled = waiting.cancelled_caught
        assert stalled  # with the kernel's buffers full, mostly


async def test_the_header_limit_is_a_setting():
    """A head that is just small enough passes, one byte more is refused."""
    head = GET[:-2] + b"Connection: close\r\nX-Long: %b\r\n\r\n"
    async with (
        upstream(answering(ok())) as server,
        served(auth=server.url, max_header_bytes=2000) as gateway,
    ):
        fill = 2000 - len(head % b"")
        assert (await talk(gateway.port, head % (b"x" * fill))).startswith(b"HTTP/1.1 200 ")
        assert error(await talk(gateway.port, head % (b"x" * (fill + 1)))) == (431, "INVALID_REQUEST")


async def test_too_many_connections():
    """A new client takes the place of the one that idled longest; where all are busy it's told so."""
    release = trio.Event()

    async def slow(peer: Peer):
        while True:
            await peer.request()
            await release.wait()
            await peer.send(ok())

    async with upstream(slow) as server, served(auth=server.url, max_connections=3) as gateway:
        idle = await connect(gateway.port)
        await trio.sleep(0.05)
        busy = [await connect(gateway.port) for _ in range(2)]
        for peer in busy:
            await peer.send(GET)
        await trio.sleep(0.05)
        third = await connect(gateway.port)
        assert await idle.closed(within=0.5) < 0.5
        await third.send(GET)
        await trio.sleep(0.05)
        refused = await talk(gateway.port, GET)
        assert error(refused) == (503, "SERVICE_UNAVAILABLE")
        assert b"\r\nretry-after: 1\r\n" in refused
        assert b"\r\nconnection: close\r\n" in refused
        release.set()
        with trio.fail_after(1):
            for peer in (*busy, third):
                await peer.until(b"\r\n\r\nok")
        again = await connect(gateway.port)
        await again.send(GET)
        with trio.fail_after(1):
            await again.until(b"\r\n\r\nok")


async def test_a_documents_size_is_bounded():
    """A service whose health or document doesn't end can't fill the gateway's memory."""
    sent = 0

    async def endless(peer: Peer):
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            await peer.send(b"0," * 32768)
            sent += 65536

    async with upstream(endless) as server:
        transport = ConnectionPoolTransport(server.url)
        service = SimpleNamespace(transport=transport, base_url=server.url)
        with trio.fail_after(5):
            assert (await fetch_json(service, "/health", timeout=30)).document is None
        assert sent < LIMIT + 20_000_000  # the kernel's buffers, mostly
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_a_document_that_cannot_be_decoded():
    """Is none."""
    answer = ok(b"not gzip", b"content-encoding: gzip")
    async with upstream(answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        service = SimpleNamespace(transport=transport, base_url=server.url)
        with trio.fail_after(5):
            assert (await fetch_json(service, "/health", timeout=3)).document is None
