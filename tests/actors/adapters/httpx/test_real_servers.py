"""A breaker for each host, over a real transport and a server that speaks bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from actors import CircuitOpenError, Panel
from actors.adapters.httpx import BreakerTransport
from tests.actors.adapters.httpx.transports import body, client, snapshot_of

HEAD = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n"


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[str]:
    """A server that answers the first request of each connection with these bytes, and closes it."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_real_answer_comes_through_and_counts_when_its_body_has_ended(panel: Panel) -> None:
    transport = BreakerTransport(httpx.AsyncHTTPTransport(), panel)
    answer = HEAD % (200, 5, b"X-Twice: 1\r\nX-Twice: 2\r\n") + b"hello"
    async with serving(answer) as url, httpx.AsyncClient(transport=transport) as asked:
        async with asked.stream("GET", url) as response:
            name = transport.breaker(response.url).name
            assert (await snapshot_of(panel, name)).in_flight == 1
            assert await response.aread() == b"hello"
            assert response.headers.get_list("x-twice") == ["1", "2"]
            assert response.http_version == "HTTP/1.1"
        counted = await snapshot_of(panel, name)
    assert counted.counts["success"] == 1
    assert counted.in_flight == 0


async def test_a_real_body_cut_off_in_the_middle_is_a_failure(panel: Panel) -> None:
    transport = BreakerTransport(httpx.AsyncHTTPTransport(), panel)
    answer = HEAD % (200, 9, b"") + b"hello"
    async with serving(answer) as url, httpx.AsyncClient(transport=transport) as asked:
        with pytest.raises(httpx.RemoteProtocolError):
            await asked.get(url)
    (breaker,) = panel
    assert (await breaker.snapshot()).counts["failure"] == 1


async def test_a_dead_host_is_rejected_and_another_is_not(panel: Panel) -> None:
    asked, inner = client(panel, httpx.ConnectError("a"), httpx.ConnectError("b"), body(b"well"))
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            await asked.get("/")
    with pytest.raises(CircuitOpenError) as rejected:
        await asked.get("/")
    assert rejected.value.name == "it"
    assert inner.asked == 2
    assert (await asked.get("http://other:81/")).text == "well"
    assert sorted(breaker.name for breaker in panel) == ["it", "other:81"]
