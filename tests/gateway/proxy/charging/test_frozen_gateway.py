"""The time for which the gateway stood still isn't counted against a service."""

import contextlib
import functools
import time

import pytest
import trio

from tests.gateway.raw_requests import ask, settled
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, ok, upstream

FAILED = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"


async def test_responses_that_arrived_during_a_freeze_are_read_before_a_time_out():
    waiting = []

    async def soon(peer: Peer):
        await peer.request()
        waiting.append(peer)
        await trio.to_thread.run_sync(functools.partial(time.sleep, 0.2))
        await peer.send(ok())

    async with upstream(soon) as server, served(auth=server.url, upstream_timeout=0.5) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, gateway.port)
            while len(waiting) < 3:  # noqa: ASYNC110
                await trio.sleep(0.01)
            time.sleep(1.0)  # noqa: ASYNC251 - the whole process stands still
        assert await settled(gateway) == {"success": 3}


@pytest.mark.parametrize(
    ("seconds", "counted"), [(1.8, {"ignored": 3}), (0.6, {"failure": 3})], ids=["mostly", "briefly"]
)
@pytest.mark.parametrize("answer", [FAILED, b"", FAILED[:-1]], ids=["500", "closed", "cut"])
async def test_failures_during_a_long_freeze_are_not_counted(answer, seconds, counted):
    """The services on the same host may have been frozen too."""

    waiting = []

    async def soon(peer: Peer):
        await peer.request()
        waiting.append(peer)
        await trio.sleep(0.8)
        await peer.send(answer)

    async def ask_for_what_may_be_cut():
        with contextlib.suppress(EOFError):
            await ask(gateway.port)

    async with upstream(soon) as server, served(auth=server.url) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask_for_what_may_be_cut)
            while len(waiting) < 3:  # noqa: ASYNC110
                await trio.sleep(0.01)
            time.sleep(seconds)  # noqa: ASYNC251 - the whole process stands still
        assert await settled(gateway) == counted
