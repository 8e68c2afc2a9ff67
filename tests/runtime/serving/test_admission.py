"""Admission of connections over real sockets: limits, fair shares, and replacement of idle connections."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from runtime.serving import Limits, client_network
from runtime.serving.admission import ConnectionAdmission

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class WorkerContext:
    """An app that answers when the test allows it, and its port."""

    def __init__(self) -> None:
        self.release = trio.Event()
        self.busy = 0
        self.port = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        self.busy += 1
        await self.release.wait()
        self.busy -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def connect(self, address: str = "127.0.0.1", data: bytes = b"") -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address)
        await stream.send_all(data)
        return stream

    async def settle(self, busy: int) -> None:
        with trio.fail_after(2):
            while self.busy != busy:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.005)


@asynccontextmanager
async def place(**limits: Any) -> AsyncIterator[WorkerContext]:
    """Serve an app with admission on a free port."""
    one = WorkerContext()
    admission = ConnectionAdmission(wrap_app(one.app, 0, "asgi"), Config(), Limits(**limits))
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, admission.serve, 0, host="127.0.0.1"))
        one.port = listener.socket.getsockname()[1]
        yield one
        nursery.cancel_scope.cancel()


async def answer(stream: trio.SocketStream) -> bytes:
    """The first line of the next response; empty if the connection is closed."""
    with trio.fail_after(2):
        return bytes(await stream.receive_some(65536)).partition(b"\r\n")[0]


async def test_a_rejected_client_gets_its_response_and_no_reset() -> None:
    async with place(connections=1) as one:
        busy = await one.connect(data=GET)
        await one.settle(1)
        refused = await one.connect(data=GET)
        assert (await answer(refused)).startswith(b"HTTP/1.1 503 ")
        await refused.send_all(GET)
        with trio.fail_after(1):
            assert await refused.receive_some() == b""
        await busy.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's address")
async def test_one_address_gets_at_most_nine_tenths_of_the_places() -> None:
    """Clients of other addresses keep theirs."""
    async with place(connections=20) as one:
        greedy = [await one.connect("127.0.0.1", GET) for _ in range(18)]
        await one.settle(18)
        refused = await one.connect("127.0.0.1", GET)
        assert await answer(refused) == b"HTTP/1.1 503 Service Unavailable"
        others = [await one.connect(f"127.0.0.{n}", GET) for n in (2, 3)]
        await one.settle(20)
        late = await one.connect("127.0.0.4", GET)
        assert await answer(late) == b"HTTP/1.1 503 Service Unavailable"
        one.release.set()
        assert {await answer(stream) for stream in (*greedy, *others)} == {b"HTTP/1.1 200 OK"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's address")
async def test_several_greedy_clients_leave_places_for_the_next() -> None:
    """Each takes at most nine tenths of what the others leave."""
    async with place(connections=100) as one:
        streams, busy = [], 0
        for number, most in enumerate((90, 9, 1), start=1):
            streams += [await one.connect(f"127.0.0.{number}", GET) for _ in range(most)]
            busy += most
            await one.settle(busy)
            refused = await one.connect(f"127.0.0.{number}", GET)
            assert await answer(refused) == b"HTTP/1.1 503 Service Unavailable"
        one.release.set()
        assert {await answer(stream) for stream in streams} == {b"HTTP/1.1 200 OK"}


async def test_places_are_free_again_when_connections_end() -> None:
    async with place(connections=10) as one:
        one.release.set()
        for _ in range(3):
            streams = [await one.connect(data=GET) for _ in range(9)]
            assert {await answer(stream) for stream in streams} == {b"HTTP/1.1 200 OK"}
            for stream in streams:
                await stream.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's address")
async def test_an_address_at_its_limit_replaces_its_own_idle_client() -> None:
    async with place(connections=10) as one:
        other = await one.connect("127.0.0.2")
        await trio.sleep(0.02)
        own = await one.connect("127.0.0.1")
        busy = [await one.connect("127.0.0.1", GET) for _ in range(7)]
        await one.settle(7)
        busy.append(await one.connect("127.0.0.1", GET))
        assert await answer(own) == b""
        await one.settle(8)
        refused = await one.connect("127.0.0.1", GET)
        assert await answer(refused) == b"HTTP/1.1 503 Service Unavailable"
        await other.send_all(GET)
        await one.settle(9)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("unknown", "unknown", True),
    ],
)
def test_the_network_is_an_ipv4_address_or_half_an_ipv6_address(one: str, other: str, same: bool) -> None:
    assert (client_network(one) == client_network(other)) is same


async def test_the_client_that_idled_longest_is_replaced() -> None:
    async with place(connections=2) as one:
        one.release.set()
        first, second = await one.connect(), await one.connect()
        await trio.sleep(0.02)
        await first.send_all(GET)
        assert await answer(first) == b"HTTP/1.1 200 OK"
        third = await one.connect(data=GET)
        assert await answer(second) == b""
        assert await answer(third) == b"HTTP/1.1 200 OK"
        await first.send_all(GET)
        assert await answer(first) == b"HTTP/1.1 200 OK"


async def test_a_partial_head_is_not_idle() -> None:
    """It has CLIENT_HEADER_TIMEOUT."""
    async with place(connections=1, head_seconds=0.3) as one:
        asking = await one.connect(data=GET[:5])
        await trio.sleep(0.02)
        assert await answer(await one.connect(data=GET)) == b"HTTP/1.1 503 Service Unavailable"
        assert await answer(asking) == b"HTTP/1.1 400 Bad Request"


HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"


async def test_an_upload_below_the_minimum_rate_is_408() -> None:
    """Although each piece arrives in time."""
    async with place(body_seconds=5.0, upload_seconds=0.2, upload_rate=1000) as one:
        stream = await one.connect(data=HEAD)
        got = trio.Event()

        async def trickle() -> None:
            while not got.is_set():
                await stream.send_all(b"x")
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            assert await answer(stream) == b"HTTP/1.1 408 Request Timeout"
            got.set()


async def test_an_upload_above_the_minimum_rate_arrives() -> None:
    async with place(body_seconds=5.0, upload_seconds=0.5, upload_rate=1000) as one:
        one.release.set()
        stream = await one.connect(data=HEAD.replace(b"1000000", b"3000"))
        for _ in range(30):
            await trio.sleep(0.03)
            await stream.send_all(b"x" * 100)
        assert await answer(stream) == b"HTTP/1.1 200 OK"


async def test_a_piece_at_the_end_of_its_time_is_accepted() -> None:
    """A busy process may see it late."""
    async with place(upload_seconds=1e-6, upload_rate=10**12) as one:
        one.release.set()
        stream = await one.connect(data=HEAD + bytes(1_000_000))
        assert await answer(stream) in (b"HTTP/1.1 200 OK", b"HTTP/1.1 408 Request Timeout")


async def test_each_upload_of_a_connection_has_its_own_time() -> None:
    async with place(body_seconds=5.0, upload_seconds=1.0, upload_rate=1000) as one:
        one.release.set()
        stream = await one.connect()
        for _ in range(2):
            await stream.send_all(HEAD.replace(b"1000000", b"4"))
            await trio.sleep(0.6)
            await stream.send_all(b"abcd")
            assert await answer(stream) == b"HTTP/1.1 200 OK"


async def test_a_fast_beginning_gives_no_more_time_later() -> None:
    async with place(body_seconds=5.0, upload_seconds=0.2, upload_rate=1000) as one:
        stream = await one.connect(data=HEAD + bytes(100_000))
        assert await answer(stream) == b"HTTP/1.1 408 Request Timeout"
