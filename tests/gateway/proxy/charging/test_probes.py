"""Requests that act as probes of a half-open breaker, and those that may not."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actors.messages import State
from tests.gateway.raw_requests import ask, envelope, post
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, connect, ok, upstream


@asynccontextmanager
async def found_again(**policy: float):
    """A gateway whose service was down, and answers again when its breaker is about to probe."""
    down = True

    async def script(peer: Peer):
        await peer.request()
        if not down:
            await peer.send(ok())

    policy = {"max_failures": 1, "reset_timeout": 0.05, **policy}
    async with upstream(script) as server, served(auth=server.url, policy=policy) as gateway:
        assert (await ask(gateway.port))[0] == 502
        down = False
        await trio.sleep(0.1)
        yield gateway


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_slow_upload_does_not_take_the_probe(expect):
    """A complete request probes meanwhile."""
    async with found_again(half_open_timeout=0.5) as gateway:
        slow = await connect(gateway.port)
        await slow.send(post(10)[:-2] + expect + b"\r\nab")
        await trio.sleep(0.05)
        assert (await gateway.snapshot()).in_flight == 0
        assert (await ask(gateway.port, post(2, b"ab")))[0] == 200
        assert (await gateway.snapshot()).state is State.CLOSED
        await slow.send(b"cdefghij")
        with trio.fail_after(2):
            assert (await slow.until(b"\r\n\r\nok")).endswith(b"ok")


async def test_a_body_that_takes_a_second_at_half_open_is_rejected():
    policy = {"max_failures": 1, "reset_timeout": 0.05}
    async with served(policy=policy) as gateway:
        assert (await ask(gateway.port))[0] == 502
        await trio.sleep(0.1)
        status, head, body = await ask(gateway.port, post(10, b"ab"))
        assert (status, envelope(body)[0]) == (503, "CIRCUIT_BREAKER_OPEN")
        assert b"\r\nretry-after: 1\r\n" in head.lower()
        assert await gateway.counts() == {"failure": 1}


async def test_an_upload_larger_than_the_buffer_may_probe():
    """Otherwise a service that gets only uploads would never recover."""
    async with found_again() as gateway:
        assert (await ask(gateway.port, post(2_000_000, bytes(2_000_000))))[0] == 200
        assert (await gateway.snapshot()).state is State.CLOSED


async def test_a_probe_whose_client_stalls_is_given_back():
    async with found_again(half_open_timeout=2.0) as gateway:
        slow = await connect(gateway.port)
        await slow.send(post(2_000_000, bytes(1_000_000)))
        with trio.fail_after(1.5):
            while b"\r\n\r\n" not in slow.buffer:
                await slow.send(b"x")
                with trio.move_on_after(0.1):
                    slow.buffer += await slow.stream.receive_some()
        assert slow.buffer.startswith(b"HTTP/1.1 503 ")
        assert await gateway.counts() == {"failure": 1, "ignored": 1}
        assert (await gateway.snapshot()).state is State.HALF_OPEN
        assert (await ask(gateway.port))[0] == 200


async def test_one_of_twenty_requests_at_half_open_reaches_the_service():
    reached = []
    down = True

    async def script(peer: Peer):
        await peer.request()
        reached.append(down)
        if not down:
            with trio.move_on_after(5):
                while len(answers) < 19:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            await peer.send(ok())

    answers = []
    async with (
        upstream(script) as server,
        served(auth=server.url, policy={"max_failures": 1, "reset_timeout": 0.2}) as gateway,
    ):
        assert (await ask(gateway.port))[0] == 502
        down = False
        await trio.sleep(0.3)

        async def one():
            answers.append(await ask(gateway.port))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert sorted(status for status, _, _ in answers) == [200] + [503] * 19
        assert all(b"\r\nretry-after: 1\r\n" in head.lower() for status, head, _ in answers if status == 503)
        assert reached == [True, False]
        assert (await ask(gateway.port))[0] == 200
