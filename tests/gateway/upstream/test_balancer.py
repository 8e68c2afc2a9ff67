"""Several servers of one service: the choice of a server, and the treatment of a dead one."""

import socket

import httpx
import pytest
import structlog.testing
import trio

from gateway.upstream.balancer import LoadBalancingTransport, service_transport
from gateway.upstream.pool import ConnectionPoolTransport
from tests.gateway.running_gateway import served
from tests.gateway.upstream.requests import fetch, request
from tests.gateway.wire import Peer, answering, close_at_second_request, connect, ok, upstream


def nobody():
    """A URL on which no server listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def naming(name):
    return answering(ok(name))


async def test_one_url_needs_no_balancer():
    assert isinstance(service_transport(["http://h:1"]), ConnectionPoolTransport)


async def test_sequential_requests_are_spread_evenly():
    async with upstream(naming(b"a")) as a, upstream(naming(b"b")) as b, upstream(naming(b"c")) as c:
        transport = service_transport([a.url, b.url, c.url])
        got = [(await fetch(transport, request()))[1] for _ in range(9)]
        assert {name: got.count(name) for name in got} == {b"a": 3, b"b": 3, b"c": 3}


async def test_a_slow_server_gets_fewer_requests():
    async with upstream(naming(b"a")) as a, upstream(naming(b"b")) as b:
        transport = service_transport([a.url, b.url])
        held = await transport.handle_async_request(request())
        busy = (await held.aread()) and (await transport.handle_async_request(request()))
        others = {(await fetch(transport, request()))[1] for _ in range(4)}
        assert len(others) == 1
        assert await busy.aread() not in others


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_connection_goes_to_the_next_server(method):
    async with upstream(naming(b"a")) as a:
        transport = service_transport([nobody(), a.url])
        with structlog.testing.capture_logs() as logs:
            for _ in range(6):
                one = request(method, body=b"x" if method == "POST" else None)
                assert await fetch(transport, one) == (200, b"a")
        assert [line["event"] for line in logs] == ["a server can't be reached"]
        assert "Connection refused" in logs[0]["reason"]


async def test_a_connect_timeout_goes_to_the_next_server():
    """Later requests don't wait for the silent one again."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with upstream(naming(b"a")) as a:
        transport = service_transport([a.url, silent], connect_timeout=0.3)
        start = trio.current_time()
        for _ in range(8):
            assert await fetch(transport, request()) == (200, b"a")
        assert 0.3 <= trio.current_time() - start < 0.6
    for one in (listener, *waiting):
        one.close()


async def test_the_error_of_all_dead_servers_names_each():
    urls = [nobody(), nobody()]
    transport = service_transport(urls)
    with pytest.raises(httpx.ConnectError) as caught:
        await transport.handle_async_request(request())
    assert all(f"{url}: Connection refused" in str(caught.value) for url in urls)


async def test_a_dead_server_gets_one_request_after_five_seconds_then_all(autojump_clock):
    tried = []

    class Pool(ConnectionPoolTransport):
        dead = False

        async def handle_async_request(self, one):
            tried.append(self.url.host)
            if self.dead:
                raise httpx.ConnectError("dead")
            return httpx.Response(200)

    pools = [Pool("http://a"), Pool("http://b")]
    transport = LoadBalancingTransport(pools)
    pools[1].dead = True

    async def ask(count):
        tried.clear()
        for _ in range(count):
            await transport.handle_async_request(request())
        return "".join(tried)

    assert (await ask(6)).count("b") == 1
    await trio.sleep(4)
    assert await ask(6) == "aaaaaa"
    for _ in range(2):
        await trio.sleep(6)
        assert (await ask(6)).count("b") == 1
    await trio.sleep(6)
    pools[1].dead = False
    assert (await ask(8)).count("b") >= 3


async def test_a_single_request_retries_a_dead_server():
    tried = []
    gate = trio.Event()

    class Pool(ConnectionPoolTransport):
        async def handle_async_request(self, one):
            tried.append(self.url.host)
            if self.url.host == "b":
                await gate.wait()
                raise httpx.ConnectTimeout("dead")
            return httpx.Response(200)

    transport = LoadBalancingTransport([Pool("http://a"), Pool("http://b")])
    transport._avoided_until[1] = trio.current_time() - 1
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(transport.handle_async_request, request())
        await trio.testing.wait_all_tasks_blocked()
        assert tried.count("b") == 1
        gate.set()


async def test_a_stale_connection_goes_to_another_server_if_harmless():
    async with upstream(naming(b"b")) as b:
        async with upstream(close_at_second_request) as a:
            transport = service_transport([b.url, a.url])
            assert {(await fetch(transport, request()))[0] for _ in range(2)} == {200}
        for _ in range(4):
            assert await fetch(transport, request()) == (200, b"b")


async def test_a_server_that_breaks_off_is_not_replaced():
    """It may have done the work."""

    async def breaks_off(peer: Peer):
        await peer.request()

    async with upstream(breaks_off) as a, upstream(naming(b"b")) as b:
        transport = service_transport([b.url, a.url])
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.handle_async_request(request())
        assert b.connections == 0


async def test_all_servers_of_a_service_have_one_breaker():
    health = b'{"data": {"auth-database": {"status": "healthy", "circuit_breaker": {"state": "CLOSED"}}}}'
    async with upstream(answering(ok(health))) as a, served(auth=f"{nobody()},{a.url}") as gateway:
        for _ in range(4):
            peer = await connect(gateway.port)
            await peer.send(
                b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
            )
            assert (await peer.rest()).startswith(b"HTTP/1.1 200 ")
        assert await gateway.counts() == {"success": 4}
        async with gateway.client() as client:
            auth = (await client.get("/health")).json()["data"]["auth"]
        assert auth["dependencies"]["auth-database"]["status"] == "healthy"
    async with served(auth=f"{nobody()},{nobody()}") as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"GET /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        assert (await peer.rest()).startswith(b"HTTP/1.1 502 ")
        assert await gateway.counts() == {"failure": 1}


async def test_expire_and_close_reach_every_server():
    async with upstream(naming(b"a")) as a, upstream(naming(b"b")) as b:
        transport = service_transport([a.url, b.url])
        for _ in range(2):
            await fetch(transport, request())
        assert [len(pool._idle) for pool in transport._pools] == [1, 1]
        transport.expire(trio.current_time() + 60)
        assert [len(pool._idle) for pool in transport._pools] == [0, 0]
        await fetch(transport, request())
        await transport.aclose()
        assert [len(pool._idle) for pool in transport._pools] == [0, 0]
