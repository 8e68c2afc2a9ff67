"""The pool on a real wire: which connection serves, which is kept, and which request is sent twice."""

import socket

import httpx
import pytest
import trio

from gateway.upstream.pool import ConnectionPoolTransport, StaleConnection
from tests.gateway.upstream.requests import fetch, request
from tests.gateway.wire import Peer, answering, close_at_second_request, ok, upstream


async def test_connections_are_reused_last_in_first_out():
    """Requests one after the other need one connection; of two, the one used last serves next."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        for _ in range(3):
            assert await fetch(transport, request()) == (200, b"ok")
        assert server.connections == 1
        first = await transport.handle_async_request(request())
        second = await transport.handle_async_request(request())
        assert server.connections == 2
        assert repr(transport) == f"<ConnectionPoolTransport {server.url}: 0 idle, 2 in use>"
        await first.aread()
        await second.aread()
        last = transport._idle[-1]
        await fetch(transport, request())
        assert transport._idle[-1] is last
        assert server.connections == 2
        assert repr(transport) == f"<ConnectionPoolTransport {server.url}: 2 idle, 0 in use>"


async def test_idle_connections_expire():
    """A connection that idled too long is closed at the next request, or by expire."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, idle_seconds=5)
        await fetch(transport, request())
        kept = transport._idle[0]
        transport.expire(trio.current_time() + 4)
        assert kept.is_open
        transport.expire(trio.current_time() + 5.1)
        assert not kept.is_open
        assert transport._idle == []


async def test_aclose_closes_idle_connections():
    """The transport can still be used."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        await transport.aclose()
        assert transport._idle == []
        assert await fetch(transport, request()) == (200, b"ok")


async def test_a_request_above_the_limit_is_refused_at_once():
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, max_connections=1)
        response = await transport.handle_async_request(request())
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(request())
        await response.aread()
        assert await fetch(transport, request()) == (200, b"ok")


async def test_a_refused_connection_is_a_connect_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = ConnectionPoolTransport(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(httpx.ConnectError, match=r"http://127\.0\.0\.1:\d+: Connection refused \(127"):
            await transport.handle_async_request(request())
        assert repr(transport).endswith("0 idle, 0 in use>")


@pytest.mark.parametrize(
    "answer", [ok() + b"more", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"]
)
async def test_a_connection_with_surplus_bytes_or_a_close_is_not_kept(answer):
    async with upstream(answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        assert await fetch(transport, request()) == (200, b"ok")
        assert transport._idle == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_a_harmless_request_on_a_stale_connection_is_sent_again(method):
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with upstream(close_at_second_request, answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        one = httpx.Request(method, "http://up/x", stream=httpx.ByteStream(b""), headers={"host": "up"})
        assert await fetch(transport, one) == (204, b"")
        assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "body"), [("POST", None), ("PATCH", None), ("POST", b"x"), ("PUT", b"x"), ("DELETE", b"x")]
)
async def test_a_request_with_effects_is_never_sent_twice(method, body):
    async with upstream(close_at_second_request, answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        with pytest.raises(StaleConnection):
            await transport.handle_async_request(request(method, body=body))
        assert repr(transport).endswith("0 idle, 0 in use>")
        assert server.connections == 1


async def test_a_second_failure_is_the_result():
    async with upstream(close_at_second_request, answering(b"", then_close=True)) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await transport.handle_async_request(request())
        assert not isinstance(caught.value, StaleConnection)
        assert server.connections == 2


async def test_the_second_try_is_on_a_new_connection():
    """If one kept connection is stale, the others may be, too: none of them is used."""
    seen = []

    async def asked_again(peer: Peer):
        await peer.request()
        await peer.send(ok())
        seen.append(await peer.until(b"\r\n\r\n"))

    async with upstream(asked_again, asked_again, answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        both = [await transport.handle_async_request(request()) for _ in range(2)]
        for response in both:
            await response.aread()
        assert await fetch(transport, request()) == (200, b"ok")
        assert (len(seen), server.connections) == (1, 3)


async def test_a_connection_that_breaks_within_a_head_is_not_stale():
    async def breaks_off(peer: Peer):
        await peer.request()
        await peer.send(ok())
        await peer.request()
        await peer.send(b"HTTP/1.1 200 O")

    async with upstream(breaks_off, answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await transport.handle_async_request(request())
        assert not isinstance(caught.value, StaleConnection)
        assert server.connections == 1


async def test_a_connection_closed_while_idle_is_not_used():
    async with upstream(answering(ok(), then_close=True), answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        await trio.sleep(0.02)
        assert await fetch(transport, request("POST", body=b"x")) == (200, b"ok")
        assert server.connections == 2


async def test_closing_an_unfinished_response_closes_its_connection():
    async with upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")) as server:
        transport = ConnectionPoolTransport(server.url)
        response = await transport.handle_async_request(request())
        await response.aclose()
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_a_busy_connection_is_replaced_at_its_maximum_age():
    """So that a changed address is found."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, age_seconds=0.2)
        for _ in range(3):
            await fetch(transport, request())
        assert server.connections == 1
        kept = transport._idle[0]
        assert kept.usable_until == kept.opened_at + 0.2
        await trio.sleep(0.25)
        await fetch(transport, request())
        assert server.connections == 2
        assert not kept.is_open
        slow = await transport.handle_async_request(request())
        await trio.sleep(0.25)
        await slow.aread()
        assert repr(transport).endswith("0 idle, 0 in use>")
