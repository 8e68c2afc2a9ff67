"""The probe of a half-open breaker ends when the service has proved itself, or its client has left."""

import trio

from actors.messages import State
from tests.gateway.proxy.charging.recovering_upstream import PROBING, recovering, reopened
from tests.gateway.raw_requests import BIG, GET, STREAM, ask, settled
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, connect, ok, upstream


async def test_a_streaming_probe_closes_the_breaker_within_a_second():
    async def events(peer: Peer):
        await peer.send(STREAM)
        await peer.rest()

    run, down = recovering(events)
    async with upstream(run) as server, served(auth=server.url, policy=PROBING) as gateway:
        await reopened(gateway, down)
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"hello")
        assert (await gateway.snapshot()).state is State.HALF_OPEN
        await trio.sleep(1.2)
        snapshot = await gateway.snapshot()
        assert (snapshot.state, snapshot.in_flight) == (State.CLOSED, 1)
        await peer.stream.aclose()
        assert await settled(gateway) == {"failure": 1, "cancelled": 1}


async def test_a_client_that_reads_slowly_does_not_hold_the_probe():
    async def big(peer: Peer):
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
        await peer.send(bytes(BIG))
        await peer.rest()

    run, down = recovering(big)
    policy = {**PROBING, "half_open_timeout": 2.0}
    async with upstream(run) as server, served(auth=server.url, policy=policy) as gateway:
        await reopened(gateway, down)
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")
        await trio.sleep(1.2)
        assert (await gateway.snapshot()).state is State.CLOSED
        await peer.stream.aclose()


async def test_a_client_that_cancelled_a_probe_does_not_get_the_next_one():
    release = trio.Event()

    async def slow(peer: Peer):
        await release.wait()
        await peer.send(ok())

    run, down = recovering(slow)
    trusting = {"trusted_proxies": "127.0.0.1"}
    async with upstream(run) as server, served(auth=server.url, policy=PROBING, **trusting) as gateway:
        await reopened(gateway, down)
        aborting = await connect(gateway.port)
        await aborting.send(GET[:-2] + b"X-Forwarded-For: 192.0.2.1\r\n\r\n")
        await trio.sleep(0.05)
        await aborting.stream.aclose()
        await trio.sleep(0.05)
        assert (await ask(gateway.port, GET[:-2] + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"))[0] == 503
        release.set()
        assert (await ask(gateway.port, GET[:-2] + b"X-Forwarded-For: 192.0.2.2\r\n\r\n"))[0] == 200
        assert (await gateway.snapshot()).state is State.CLOSED
