"""HTTP/2 clients that attack, vanish or stall, and the end of a process with HTTP/2 connections."""

from __future__ import annotations

import random
import struct

import h2.errors
import pytest
import trio
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from trio.testing import wait_all_tasks_blocked

from runtime.serving.protocol.frame_budget import FREE_FRAMES
from tests.runtime.serving.h2_client import h2_client
from tests.runtime.serving.running_app import body_of, echo, respond, running

CALM = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def waiting(scope, receive, send):
    """Answers /good; otherwise it waits for the client to leave."""
    if scope["path"] == "/good":
        await respond(send)
        return
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_rapid_resets_end_the_connection_with_a_reason(pair):
    async with running(waiting, pair) as server, h2_client(server) as client:
        with trio.fail_after(2):
            try:
                for _ in range(20 * FREE_FRAMES):
                    stream_id = client.open()
                    client.connection.reset_stream(stream_id)
                    await client.flush()
                await client.end()
            except (trio.BrokenResourceError, EOFError):
                pass
            await client.end()
        assert client.goaway is None or client.goaway.error_code == CALM


async def test_a_client_that_resets_a_few_dozen_streams_is_served_on(pair):
    async with running(waiting, pair) as server, h2_client(server) as client:
        for _ in range(60):
            client.connection.reset_stream(client.open())
        await client.flush()
        assert (await client.ask(b"/good")).status == 200


FLOODS = {
    "pings": [PingFrame(0, b"12345678")] * (2 * FREE_FRAMES),
    "settings": [SettingsFrame(0, {3: 100})] * (2 * FREE_FRAMES),
    "empty data": [DataFrame(1, b"")] * (2 * FREE_FRAMES),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_frames_that_need_an_answer_ends_the_connection(pair, kind):
    async with running(waiting, pair) as server, h2_client(server) as client:
        client.open(b"/", b"POST", end=False)
        await client.frames(*FLOODS[kind])
        with trio.fail_after(2):
            await client.end()
        assert client.goaway is not None
        assert client.goaway.error_code == CALM
        async with h2_client(server) as other:
            assert (await other.ask(b"/good")).status == 200


async def test_a_header_list_above_the_limit_is_refused(pair):
    """It may be small on the wire."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await respond(send)

    async with running(app, pair, head_bytes=2000) as server, h2_client(server) as client:
        assert (await client.ask(b"/", b"GET", [(b"x", b"y" * 1500)])).status == 200
        client.open(b"/", b"GET", [(b"x", b"y" * 1500)] * 3)
        await client.flush()
        with trio.fail_after(2):
            await client.end()
    assert len(seen) == 1


async def test_a_stream_above_the_announced_limit_ends_the_connection(pair):
    running_apps = 0

    async def app(scope, receive, send):
        nonlocal running_apps
        running_apps += 1
        await waiting(scope, receive, send)

    async with running(app, pair, streams=5) as server, h2_client(server) as client:
        await client.until(lambda: client.connection.remote_settings.max_concurrent_streams == 5)
        for _ in range(5):
            client.open()
        await client.flush()
        await trio.sleep(0.1)
        assert running_apps == 5
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"h"), (b":path", b"/")]
        sixth = HeadersFrame(11, client.connection.encoder.encode(head), flags=["END_HEADERS", "END_STREAM"])
        await client.frames(sixth)
        with trio.fail_after(2):
            await client.end()
        assert client.goaway is not None
        assert running_apps == 5


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_vanishes_cancels_its_requests(pair, reset):
    """No task is left."""
    left = 0

    async def app(scope, receive, send):
        nonlocal left
        await waiting(scope, receive, send)
        left += 1

    async with running(app, pair) as server:
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with h2_client(server) as client:
            for _ in range(10):
                client.open()
            client.open(b"/", b"POST", end=False)
            await client.flush()
            await trio.sleep(0.05)
            if reset:
                client.stream.transport_stream.setsockopt(1, 13, struct.pack("ii", 1, 0))
        await trio.sleep(0.1)
        assert left == 11
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_reset_while_its_last_frame_is_sent(pair):
    """The stream is forgotten once; the connection and its other streams go on."""

    async def app(scope, receive, send):
        await respond(send, bytes(2_000_000) if scope["path"] == "/big" else b"ok")

    async with running(app, pair, within=15) as server:
        for _ in range(3):
            async with h2_client(server) as client:
                client.connection.increment_flow_control_window(2**30)
                streams = [client.open(b"/big") for _ in range(8)]
                for one in streams:
                    client.connection.increment_flow_control_window(2**30, one)
                await client.flush()
                # Nothing is read: the server waits within a write.
                await trio.sleep(0.3)
                await client.frames(*(RstStreamFrame(one, error_code=8) for one in streams))
                await trio.sleep(0.05)
                for one in streams:
                    del client.answers[one]
                last = client.open()
                await client.flush()
                assert (await client.answer(last)).body == b"ok"


async def test_draining_sends_goaway_and_finishes_requests_in_flight(pair):
    """Later ones are refused, and `serve` returns."""
    entered, release = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        entered.set()
        await release.wait()
        await respond(send, await body_of(receive))

    async with running(app, pair, grace=5) as server, h2_client(server) as client:
        stream_id = client.open(b"/", b"POST", end=False)
        await client.flush()
        await entered.wait()
        server.stop.set()
        await client.until(lambda: client.goaway is not None)
        assert (client.goaway.error_code, client.goaway.last_stream_id) == (0, stream_id)
        refused = await client.ask()
        assert refused.reset == h2.errors.ErrorCodes.REFUSED_STREAM
        release.set()
        client.send_data(stream_id, b"hello", end=True)
        await client.flush()
        assert (await client.answer(stream_id)).body == b"hello"
        with trio.fail_after(1):
            await client.end()
            await server.ended.wait()


async def test_an_idle_client_gets_goaway_and_does_not_delay_the_end(pair):
    async with running(echo, pair, grace=5) as server, h2_client(server) as client:
        assert (await client.ask()).status == 200
        server.stop.set()
        with trio.fail_after(2):
            await client.end()
            await server.ended.wait()
        assert client.goaway is not None
        assert client.goaway.error_code == 0


async def test_an_idle_client_gets_goaway_after_idle_seconds(pair):
    """Pings don't count as requests."""
    async with running(echo, pair, idle_seconds=0.2) as server, h2_client(server) as client:
        assert (await client.ask()).status == 200
        with trio.fail_after(1):
            try:
                while True:
                    client.connection.ping(b"12345678")
                    await client.flush()
                    await client.read()
                    await trio.sleep(0.02)
            except (EOFError, trio.BrokenResourceError):
                pass


@pytest.mark.parametrize("seed", range(3))
async def test_random_frames_end_at_most_their_own_connection(pair, seed, capsys):
    """No traceback is logged."""
    chance = random.Random(seed)
    async with running(waiting, pair, within=20) as server:
        for _ in range(40):
            async with h2_client(server) as client:
                client.open(b"/", b"POST", end=False)
                await client.flush()
                data = b""
                for _ in range(chance.randint(1, 30)):
                    if chance.random() < 0.2:
                        client.open()
                        data += client.connection.data_to_send()
                    size = chance.choice([0, 1, 4, 5, 8, 30])
                    kind, flags, stream = (
                        chance.randrange(12),
                        chance.choice([0, 1, 4, 5, 8, 0x20, chance.randrange(256)]),
                        chance.choice([0, 1, 1, 3, 5, 2, 2**31 - 1]),
                    )
                    data += struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream)
                    data += chance.choice([bytes(size), b"\xff" * size, chance.randbytes(size)])
                try:
                    await client.stream.send_all(data)
                    with trio.move_on_after(0.02):
                        await client.stream.receive_some()
                except trio.BrokenResourceError:
                    pass
        async with h2_client(server) as client:
            assert (await client.ask(b"/good")).status == 200
    assert "failed" not in capsys.readouterr().out


async def test_an_unfinished_head_ends_the_connection_after_idle_seconds(pair):
    async with running(waiting, pair, idle_seconds=0.3) as server, h2_client(server) as client:
        frame = HeadersFrame(1, b"\x82")
        await client.frames(frame)
        with trio.fail_after(1):
            await client.end()
