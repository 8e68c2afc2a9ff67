"""What a proxied call says of its service: nothing that its client, or the gateway itself, brought about."""

import contextlib
import functools
import time

import pytest
import trio

from actors.messages import State
from gateway.upstream.handler_failures import HANDLER_SECONDS, HandlerFailures
from tests.gateway.raw_requests import GET, ask, post, settled
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

FAILED = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"
PROBING = {"max_failures": 1, "reset_timeout": 0.2}
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n"
BIG = 20_000_000


def test_one_client_alone_never_makes_a_handlers_error_a_failure():
    handlers = HandlerFailures()
    assert not any(handlers.counts("one", n / 10) for n in range(500))


def test_two_clients_do_not_either():
    handlers = HandlerFailures()
    assert not any(handlers.counts(f"client {n % 2}", n / 10) for n in range(500))


def test_the_third_client_does():
    handlers = HandlerFailures()
    counted = [handlers.counts(client, 0.0) for client in ("a", "b", "a", "c", "a")]
    assert counted == [False, False, False, True, True]


def test_clients_are_forgotten_after_a_minute():
    handlers = HandlerFailures()
    handlers.counts("a", 0.0)
    handlers.counts("b", 1.0)
    assert not handlers.counts("c", HANDLER_SECONDS)
    assert not handlers.counts("a", HANDLER_SECONDS + 1.5)
    assert handlers.counts("d", HANDLER_SECONDS + 1.9)


def test_what_is_remembered_is_bounded():
    handlers = HandlerFailures()
    for n in range(10_000):
        handlers.counts(n, 0.0)
    assert len(handlers._recent) == 100


HANDLER_FAILED = b"HTTP/1.1 500 Oh\r\nX-Handler-Failure: 1\r\ncontent-length: 2\r\n\r\nno"


async def test_one_clients_data_cannot_open_the_breaker():
    async with upstream(answering(HANDLER_FAILED)) as server, served(auth=server.url) as gateway:
        for _ in range(10):
            status, head, _ = await ask(gateway.port)
            assert status == 500
            assert b"handler-failure" not in head.lower()
        assert await gateway.counts() == {"ignored": 10}


async def test_a_handler_that_fails_for_everybody_opens_the_breaker():
    trusting = {"trusted_proxies": "127.0.0.1"}
    async with upstream(answering(HANDLER_FAILED)) as server, served(auth=server.url, **trusting) as gateway:
        for n in range(10):
            address = b"X-Forwarded-For: 192.0.2.%d\r\n\r\n" % n
            await ask(gateway.port, GET[:-2] + address)
        assert (await gateway.snapshot()).state is State.OPEN
        assert await gateway.counts() == {"ignored": 2, "failure": 5, "rejected": 3}


async def reopened(gateway, peers):
    """Open the breaker by a failure, and wait until its probe is due."""
    await ask(gateway.port)
    assert (await gateway.snapshot()).state is State.OPEN
    peers.append(True)
    await trio.sleep(0.25)


def recovering(script):
    """An upstream that resets its first connection, and then runs `script`."""
    down = []

    async def run(peer: Peer):
        await peer.until(b"\r\n\r\n")
        if not down:
            peer.reset()
            return
        await script(peer)

    return run, down


async def test_a_stream_is_a_recovery_within_a_second():
    """The next callers don't wait for the end of an event stream that happened to be the probe."""

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


async def test_an_upstream_that_gives_up_a_slow_client_is_not_to_blame():
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


async def test_nor_for_a_client_that_reads_slowly_all_the_time():
    """None of its pauses is long."""

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


async def test_an_upstream_that_breaks_off_for_a_client_that_reads_is_to_blame():
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


async def test_a_client_that_reads_slowly_is_no_silence_of_the_service():
    """UPSTREAM_IDLE_TIMEOUT stands still while the client doesn't take what is there."""
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


async def test_answers_that_arrived_while_the_gateway_stood_still_are_read():
    """A process that was frozen past its limit reads what lies in its sockets before a time-out counts."""

    async def soon(peer: Peer):
        await peer.request()
        await trio.to_thread.run_sync(functools.partial(time.sleep, 0.2))
        await peer.send(ok())

    async with upstream(soon) as server, served(auth=server.url, upstream_timeout=0.5) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, gateway.port)
            await trio.sleep(0.1)
            time.sleep(1.0)  # noqa: ASYNC251 - the whole process stands still
        assert await settled(gateway) == {"success": 3}


@pytest.mark.parametrize(
    ("seconds", "counted"), [(1.8, {"ignored": 3}), (0.6, {"failure": 3})], ids=["mostly", "briefly"]
)
@pytest.mark.parametrize("answer", [FAILED, b"", FAILED[:-1]], ids=["500", "closed", "cut"])
async def test_what_failed_while_the_gateway_stood_still_says_nothing(answer, seconds, counted):
    """On a host that was paused the services have stood still too, and speak of that."""

    async def soon(peer: Peer):
        await peer.request()
        await trio.sleep(0.8)
        await peer.send(answer)

    async def ask_for_what_may_be_cut():
        with contextlib.suppress(EOFError):
            await ask(gateway.port)

    async with upstream(soon) as server, served(auth=server.url) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask_for_what_may_be_cut)
            await trio.sleep(0.1)
            time.sleep(seconds)  # noqa: ASYNC251 - the whole process stands still
        assert await settled(gateway) == counted


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


async def test_a_client_that_cancels_probes_does_not_keep_them():
    """Whoever aborts a probe isn't given the next one while another asks."""
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
