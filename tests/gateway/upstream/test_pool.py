"""The transport on a real wire, against upstreams that misbehave."""

import socket

import httpx
import pytest
import trio
import trio.testing

from gateway.upstream.addresses import Resolver
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import ConnectionPoolTransport, StaleConnection
from runtime.tls import client_context
from tests.gateway.wire import Peer, answering, ok, upstream


def request(method="GET", path="/x", body=None, **extensions):
    if body is None:
        return httpx.Request(method, f"http://up{path}", extensions=extensions)
    return httpx.Request(method, f"http://up{path}", content=body, extensions=extensions)


async def fetch(transport, one):
    response = await transport.handle_async_request(one)
    return response.status_code, await response.aread()


async def test_connections_are_reused_last_in_first_out():
    """Requests one after the other need one connection; of two, the one used last serves next."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        for _ in range(3):
            assert await fetch(transport, request()) == (200, b"ok")
        assert server.connections == 1
        first = await transport.handle_async_request(request())
        second = await transport.handle_async_request(request())
        assert (server.connections, repr(transport)) == (
            2,
            f"<ConnectionPoolTransport {server.url}: 0 idle, 2 in use>",
        )
        await first.aread()
        await second.aread()
        last = transport._free[-1]
        await fetch(transport, request())
        assert transport._free[-1] is last
        assert (server.connections, repr(transport)) == (
            2,
            f"<ConnectionPoolTransport {server.url}: 2 idle, 0 in use>",
        )


async def test_target_goes_out_byte_for_byte():
    """The target extension is sent as it is; the URL could not carry it."""
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.request())
        await peer.send(ok())

    async with upstream(script) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request(target=b"//a/%2e%2E/b%zz?q=%2F+&"))
    assert seen[0].startswith(b"GET //a/%2e%2E/b%zz?q=%2F+& HTTP/1.1\r\n")


async def test_idle_connections_expire():
    """A connection that idled too long is closed at the next request, or by expire."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, idle_seconds=5)
        await fetch(transport, request())
        kept = transport._free[0]
        transport.expire(trio.current_time() + 4)
        assert kept.is_open
        transport.expire(trio.current_time() + 5.1)
        assert not kept.is_open
        assert transport._free == []


async def test_aclose_closes_the_idle():
    """aclose leaves no connection behind, and the transport can still be used."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        await transport.aclose()
        assert transport._free == []
        assert await fetch(transport, request()) == (200, b"ok")


async def test_bounded():
    """One request more than there are connections is refused at once, and a free one is usable again."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, max_connections=1)
        response = await transport.handle_async_request(request())
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(request())
        await response.aread()
        assert await fetch(transport, request()) == (200, b"ok")


async def test_refused():
    """Nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = ConnectionPoolTransport(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(httpx.ConnectError, match=r"http://127\.0\.0\.1:\d+: Connection refused \(127"):
            await transport.handle_async_request(request())
        assert repr(transport).endswith("0 idle, 0 in use>")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=[
        "nothing",
        "half a line",
        "not http",
        "binary",
        "two lengths",
        "control byte",
        "101",
        "endless head",
    ],
)
async def test_malformed_heads(answer):
    """What isn't a response is a protocol error, and its connection is not kept."""
    async with upstream(answering(answer, then_close=True)) as server:
        transport = ConnectionPoolTransport(server.url)
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.handle_async_request(request())
        assert repr(transport).endswith("0 idle, 0 in use>")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc",
    ],
    ids=["short", "in a chunk", "between chunks", "bad chunk size"],
)
async def test_cut_bodies(answer):
    """A body cut off is an error, never an end."""
    async with upstream(answering(answer, then_close=True)) as server:
        transport = ConnectionPoolTransport(server.url)
        response = await transport.handle_async_request(request())
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
        await response.aclose()
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_a_reset_is_a_read_error():
    """An upstream that resets the connection in the middle of a body."""

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await trio.sleep(0.02)
        peer.reset()

    async with upstream(script) as server:
        response = await ConnectionPoolTransport(server.url).handle_async_request(request())
        with pytest.raises(httpx.ReadError):
            await response.aread()


@pytest.mark.parametrize(
    "answer", [ok() + b"more", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"]
)
async def test_not_kept(answer):
    """A connection with bytes nobody asked for, or that the upstream will close, serves no second request."""
    async with upstream(answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        assert await fetch(transport, request()) == (200, b"ok")
        assert transport._free == []


async def test_interim_responses_are_skipped():
    """103 and 102 are not the answer."""
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with upstream(answering(interim + ok())) as server:
        assert await fetch(ConnectionPoolTransport(server.url), request()) == (200, b"ok")


async def close_when_asked_again(peer: Peer):
    """Keeps the connection open after one answer, and closes it only when the second request is there."""
    await peer.request()
    await peer.send(ok())
    await peer.until(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_stale_connection_is_replaced(method):
    """A kept connection that the upstream closes under a harmless request: one more try, unseen."""
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with upstream(close_when_asked_again, answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        one = httpx.Request(method, "http://up/x", stream=httpx.ByteStream(b""), headers={"host": "up"})
        assert await fetch(transport, one) == (204, b"")
        assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "body"), [("POST", None), ("PATCH", None), ("POST", b"x"), ("PUT", b"x"), ("DELETE", b"x")]
)
async def test_stale_connection_is_no_second_try(method, body):
    """What may have been done, or has a body, is never sent twice."""
    async with upstream(close_when_asked_again, answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        with pytest.raises(StaleConnection):
            await transport.handle_async_request(request(method, body=body))
        assert repr(transport).endswith("0 idle, 0 in use>")
        assert server.connections == 1


async def test_one_more_try_is_one():
    """The second try isn't on a kept connection, and its failure is the answer."""
    async with upstream(close_when_asked_again, answering(b"", then_close=True)) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await transport.handle_async_request(request())
        assert not isinstance(caught.value, StaleConnection)
        assert server.connections == 2


async def test_the_second_try_is_on_a_new_connection():
    """Where one kept connection was stale, the others may be, too: none of them is asked."""
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


async def test_no_second_try_once_an_answer_began():
    """A kept connection that breaks in the middle of a head was not stale."""

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


async def test_closed_while_idle():
    """A kept connection that the upstream closed in between isn't used at all, not even for a POST."""
    async with upstream(answering(ok(), then_close=True), answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url)
        await fetch(transport, request())
        await trio.sleep(0.02)
        assert await fetch(transport, request("POST", body=b"x")) == (200, b"ok")
        assert server.connections == 2


async def test_cancelled_wait_closes_the_connection():
    """Giving up on a silent upstream closes its connection at once."""
    closed = trio.Event()

    async def silent(peer: Peer):
        await peer.request()
        await peer.rest()
        closed.set()

    async with upstream(silent) as server:
        transport = ConnectionPoolTransport(server.url)
        with trio.move_on_after(0.05):
            await transport.handle_async_request(request())
        with trio.fail_after(1):
            await closed.wait()
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_unfinished_body_closes_the_connection():
    """Closing a response before its end leaves a connection nobody could use."""
    async with upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")) as server:
        transport = ConnectionPoolTransport(server.url)
        response = await transport.handle_async_request(request())
        await response.aclose()
        assert repr(transport).endswith("0 idle, 0 in use>")


class Trickle(httpx.AsyncByteStream):
    """A body that waits for leave before each piece."""

    def __init__(self):
        self.pieces, self._take = trio.open_memory_channel(0)

    async def __aiter__(self):
        async for piece in self._take:
            yield piece


def upload(body, nursery, **headers):
    headers = {"host": "up", "transfer-encoding": "chunked", **headers}
    return httpx.Request("POST", "http://up/x", headers=headers, stream=body, extensions={"nursery": nursery})


async def test_early_answer():
    """An answer comes through while the body is still being sent; the connection is not kept."""

    async def script(peer: Peer):
        await peer.until(b"first")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await peer.rest()

    async with upstream(script) as server, trio.open_nursery() as nursery:
        transport = ConnectionPoolTransport(server.url)
        body = Trickle()
        nursery.start_soon(body.pieces.send, b"first")
        with trio.fail_after(1):
            assert await fetch(transport, upload(body, nursery)) == (403, b"no")
        assert repr(transport).endswith("0 idle, 0 in use>")
        nursery.cancel_scope.cancel()


async def test_answer_before_the_upload_ends():
    """An upstream that answers first and reads on gets the whole body, and the connection is kept."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
        await peer.until(b"0\r\n\r\n")
        await trio.sleep(0.02)
        await peer.send(b"all seen")
        await peer.rest()

    async with upstream(script) as server, trio.open_nursery() as nursery:
        transport = ConnectionPoolTransport(server.url)
        body = Trickle()
        with trio.fail_after(1):
            response = await transport.handle_async_request(upload(body, nursery))
            await body.pieces.send(b"late")
            await body.pieces.aclose()
            assert await response.aread() == b"all seen"
        assert repr(transport).endswith("1 idle, 0 in use>")
        nursery.cancel_scope.cancel()


async def test_a_connection_still_being_written_is_not_kept():
    """The answer is complete, and so is the request but for its last bytes, which are still on their way."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    connection = UpstreamConnection(httpx.URL("http://up"), Resolver(), None)
    connection._stream = ours
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.receive_some, 65536)
        body = Trickle()
        await connection.send(upload(body, nursery))
        await body.pieces.aclose()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(theirs.send_all, ok())
        await connection.head()
        assert [await connection.piece(), await connection.piece()] == [b"ok", None]
        assert not connection.reset_for_reuse()
        nursery.cancel_scope.cancel()


async def test_a_short_upload_is_never_taken_for_a_whole_one():
    """A body that ends before its announced length breaks the connection off."""
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.rest())

    async with upstream(script) as server, trio.open_nursery() as nursery:
        transport = ConnectionPoolTransport(server.url)
        headers = {"host": "up", "content-length": "10"}
        one = httpx.Request(
            "POST",
            "http://up/x",
            headers=headers,
            stream=httpx.ByteStream(b"abc"),
            extensions={"nursery": nursery},
        )
        with trio.fail_after(1), pytest.raises(httpx.ReadError):
            await transport.handle_async_request(one)
        await trio.sleep(0.02)
        assert seen[0].endswith(b"\r\n\r\nabc")


async def test_a_kept_connection_has_an_age():
    """However busy: behind a name that moves, the next connection finds the new address."""
    async with upstream(answering(ok())) as server:
        transport = ConnectionPoolTransport(server.url, age_seconds=0.2)
        for _ in range(3):
            await fetch(transport, request())
        assert server.connections == 1
        kept = transport._free[0]
        assert kept.usable_until == kept.opened_at + 0.2
        await trio.sleep(0.25)
        await fetch(transport, request())
        assert server.connections == 2
        assert not kept.is_open
        slow = await transport.handle_async_request(request())
        await trio.sleep(0.25)
        await slow.aread()
        assert repr(transport).endswith("0 idle, 0 in use>")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connect_timeout(scheme):
    """Look-up, connecting and TLS handshake have one time-out, and nothing stays open behind it."""

    class Silent(Resolver):
        async def resolve(self, host, port):
            await trio.sleep_forever()

    async def no_handshake(peer: Peer):
        await peer.rest()

    async with upstream(no_handshake) as server:
        resolver = Silent() if scheme == "http" else Resolver()
        url = server.url.replace("http:", f"{scheme}:")
        context = client_context()
        transport = ConnectionPoolTransport(url, context=context, resolver=resolver, connect_timeout=0.1)
        with trio.fail_after(1), pytest.raises(httpx.ConnectTimeout, match="no connection within 0.1 s"):
            await transport.handle_async_request(request())
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_the_time_to_connect_is_not_that_of_the_answer():
    """A slow answer is the caller's to time out."""

    async def slow(peer: Peer):
        await peer.request()
        await trio.sleep(0.2)
        await peer.send(ok())

    async with upstream(slow) as server:
        assert await fetch(ConnectionPoolTransport(server.url, connect_timeout=0.1), request()) == (
            200,
            b"ok",
        )
