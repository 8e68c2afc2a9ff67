"""A slow client's time is never counted against its service."""

import contextlib

import pytest
import trio

from tests.gateway.raw_requests import BIG, GET, STREAM, ask, post, settled
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream


async def test_an_upstream_that_gives_up_a_client_that_stopped_reading_is_no_failure():
    async def impatient(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
        with trio.move_on_after(0.5):
            await peer.send(bytes(BIG))
        peer.reset()

    async with upstream(impatient) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")
        await trio.sleep(1.5)
        await peer.rest()
        assert await settled(gateway) == {"ignored": 1}


async def test_an_upstream_that_gives_up_a_client_that_reads_slowly_is_no_failure():
    """None of the client's pauses is long."""

    async def impatient(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
        with trio.move_on_after(2):
            await peer.send(bytes(BIG))
        peer.reset()

    async with upstream(impatient) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(10), contextlib.suppress(trio.BrokenResourceError):
            while await peer.stream.receive_some(100_000):  # noqa: ASYNC110 - that is how it reads
                await trio.sleep(0.04)
        assert await settled(gateway) == {"ignored": 1}


async def test_an_upstream_that_breaks_off_while_the_client_reads_is_a_failure():
    async def broken(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\nabc" % BIG)
        await trio.sleep(1.2)
        peer.reset()

    async with upstream(broken) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.rest()
        assert await settled(gateway) == {"failure": 1}


@pytest.mark.parametrize("uploads", [False, True])
async def test_a_slow_clients_time_is_not_the_services_duration(uploads):
    async def quick(peer: Peer):
        await peer.request()
        await peer.send(ok(bytes(4_000_000)))
        await peer.rest()

    async with upstream(quick) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(2, b"a") if uploads else GET)
        await trio.sleep(0.6)
        await peer.send(b"b" if uploads else b"")
        if not uploads:
            await peer.until(b"\r\n\r\n")
            await trio.sleep(0.6)
        with trio.fail_after(5):
            while (await gateway.snapshot()).in_flight:
                await peer.stream.receive_some(1_000_000)
        durations = (await gateway.snapshot()).durations
        assert durations is not None
        assert durations.total < 0.4
        await peer.stream.aclose()


async def test_upstream_idle_timeout_stands_still_while_the_client_reads_nothing():
    async with (
        upstream(answering(ok(bytes(BIG)))) as server,
        served(auth=server.url, upstream_idle_timeout=0.2) as gateway,
    ):
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")
        await trio.sleep(0.6)
        assert len(await peer.exactly(BIG)) == BIG
        assert await settled(gateway) == {"success": 1}


async def test_a_call_timeout_ends_at_the_head():
    async def streams(peer: Peer):
        await peer.request()
        await peer.send(STREAM)
        await trio.sleep(0.5)
        await peer.send(b"data: more\n\n")

    policy = {"call_timeout": 0.2}
    async with upstream(streams) as server, served(auth=server.url, policy=policy) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(2):
            await peer.until(b"more")
            await peer.until(b"0\r\n\r\n")
        assert await settled(gateway) == {"success": 1}


async def test_a_call_timeout_counts_until_the_head():
    async def silent(peer: Peer):
        await peer.rest()

    policy = {"call_timeout": 0.2}
    async with upstream(silent) as server, served(auth=server.url, policy=policy) as gateway:
        assert (await ask(gateway.port))[0] == 504
        assert await settled(gateway) == {"failure": 1}


async def test_a_services_retry_after_lengthens_the_wait():
    busy = b"HTTP/1.1 503 Busy\r\nretry-after: 90\r\ncontent-length: 2\r\n\r\nno"
    async with (
        upstream(answering(busy)) as server,
        served(auth=server.url, policy={"max_failures": 1, "reset_timeout": 30.0}) as gateway,
    ):
        await ask(gateway.port)
        _, head, _ = await ask(gateway.port)
        assert b"\r\nretry-after: 90\r\n" in head
