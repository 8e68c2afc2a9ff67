"""The ends of a connection: deadlines seen late, writes that are cut off, apps that fail while they end."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest
import trio

from runtime.serving.connection import ClientConnection
from tests.runtime.serving.h2_client import h2_client
from tests.runtime.serving.running_app import body_of, echo, respond, running

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"


def stall(seconds: float) -> None:
    """Stop the loop, as SIGSTOP or a long computation does."""
    time.sleep(seconds)


@pytest.mark.parametrize(
    ("before", "after"), [(b"", GET), (GET[:9], GET[9:]), (POST, b"hello"), (POST + b"h", b"ello")]
)
async def test_data_that_arrived_before_its_deadline_is_read(before: bytes, after: bytes) -> None:
    """After a stall of the event loop."""
    limits = {"idle_seconds": 0.2, "head_seconds": 0.2, "body_seconds": 0.2}
    for _ in range(3):
        async with running(echo, **limits) as server:
            peer = await server.connect()
            await peer.send(before)
            await trio.sleep(0.05)
            # The deadline passes before the bytes are there, and both before the loop goes on.
            stall(0.3)
            peer.stream.socket._sock.send(after)
            with trio.fail_after(1):
                assert (await peer.until(b"\r\n")).startswith(b"HTTP/1.1 200 "), before


@pytest.mark.parametrize("before", [b"", GET[:9]])
async def test_a_deadline_counts_only_without_data(before: bytes) -> None:
    async with running(echo) as server:
        peer = await server.connect()
        await peer.send(before)
        await trio.sleep(0.05)
        [connection] = [
            one
            for one in gc.get_objects()
            # Not isinstance: on a weak proxy it needs the object, which may be gone.
            if issubclass(type(one), ClientConnection) and one._server[1] == server.port
        ]
        trio.lowlevel.spawn_system_task(peer.send, GET[len(before) :])
        await trio.lowlevel.checkpoint()
        connection._deadline = trio.current_time() - 1
        connection._reading.cancel()
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_passed_deadline_is_checked_for_data_once() -> None:
    async with running(echo, head_seconds=0.2) as server:
        peer = await server.connect()
        with trio.fail_after(1):
            try:
                await peer.send(b"GET /")
                while True:
                    await peer.send(b"x")
                    with trio.move_on_after(0.001):
                        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
                        return
            except trio.BrokenResourceError:
                pass


async def test_cutting_off_one_stream_leaves_the_others_whole(pair: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/big":
            await respond(send, bytes(8_000_000))
        elif scope["path"] == "/cut":
            with trio.move_on_after(0.2):
                await respond(send, b"cut", 200, (b"x-new", b"field"))
        else:
            await respond(send, b"ok", 200, (b"x-new", b"field"))

    async with running(app, pair, within=15) as server, h2_client(server) as client:
        client.connection.increment_flow_control_window(2**30)
        big = client.open(b"/big")
        client.connection.increment_flow_control_window(2**30, big)
        await client.flush()
        await trio.sleep(0.2)
        client.open(b"/cut")
        await client.flush()
        await trio.sleep(0.5)
        good = client.open(b"/good")
        await client.flush()
        assert (b"x-new", b"field") in (await client.answer(good)).fields
        assert len((await client.answer(big)).body) == 8_000_000


async def test_an_error_during_cancellation_is_logged_and_serve_returns(capsys: Any) -> None:
    entered = trio.Event()

    async def fails() -> None:
        try:
            entered.set()
            await trio.sleep_forever()
        finally:
            raise ValueError("a bug")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            await trio.sleep_forever()

    async with running(app, grace=0.1) as server:
        peer = await server.connect()
        await peer.send(GET)
        await entered.wait()
        server.stop.set()
        # structlog's default log takes its time for a traceback with colours.
        with trio.fail_after(20):
            await server.ended.wait()
    assert "the app failed" in capsys.readouterr().out


async def test_an_unread_upload_is_discarded_for_two_seconds() -> None:
    """The next request follows it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, b"early" if scope["method"] == "POST" else await body_of(receive) + b"next")

    async with running(app) as server:
        peer = await server.connect()
        await peer.send(POST + b"he")
        await peer.until(b"early")
        await peer.send(b"llo" + GET)
        with trio.fail_after(1):
            assert (await peer.until(b"next")).startswith(b"HTTP/1.1 200 ")
