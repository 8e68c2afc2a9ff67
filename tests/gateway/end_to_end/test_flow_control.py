"""Bodies flow at once, no faster than the receiver takes them, and in little memory."""

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.gateway.end_to_end.raw_http import GET
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, connect, ok, upstream

MIB = 1024 * 1024


BIG = 64 * MIB


def resident():
    """The memory of this process, in bytes. It includes both peers of the gateway."""
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
async def test_an_upload_of_64_mib_arrives_in_flat_memory(chunked):
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
async def test_a_download_of_64_mib_arrives_in_flat_memory(chunked):
    """The client begins to read late."""
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


async def test_a_client_that_stops_reading_stalls_the_upstream():
    """The gateway buffers a bounded part of the download."""
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


async def test_the_head_and_each_event_of_a_stream_arrive_at_once():
    said, heard = trio.open_memory_channel[bytes](0)

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        async for event in heard:
            await peer.send(event)

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(20):
            await peer.until(b"\r\n\r\n")
            for n in range(20):
                event = b"data: %d\n\n" % n
                await said.send(event)
                with trio.fail_after(2):
                    assert (await peer.until(event + b"\r\n")).endswith(event + b"\r\n")
            await said.aclose()
            assert await peer.until(b"0\r\n\r\n") == b"0\r\n\r\n"
