"""A client that leaves, or takes nothing, ends its request and no other."""

import sys

import pytest
import trio
import trio.testing

from runtime.serving.client_socket import hung_up
from tests.gateway.end_to_end.raw_http import GET
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, Watch, connect, upstream


async def test_a_client_that_reads_nothing_is_disconnected_after_client_write_timeout():
    """The call to the upstream is cancelled, and no failure is counted."""
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


@pytest.mark.parametrize(("size", "reset"), [(0, False), (0, True), (300_000, False), (4_000_000, True)])
async def test_leaving_a_stalled_upload_ends_the_request_within_100_ms(size, reset):
    """Although the upstream reads none of the client's bytes."""

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
async def test_a_close_is_detected_behind_unread_bytes(reset):
    """Unread bytes alone are no close."""

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
async def test_leaving_ends_the_request_in_flight_and_starts_no_pipelined_one(size):
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
