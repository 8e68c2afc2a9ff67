"""One connection on a real wire: the bytes sent, the bytes read, and when it is given up."""

import httpx
import pytest
import trio
import trio.testing

from gateway.upstream.addresses import Resolver
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pool import ConnectionPoolTransport
from runtime.serving.tls import client_context
from tests.gateway.upstream.requests import fetch, request
from tests.gateway.wire import Peer, answering, ok, upstream


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
async def test_a_malformed_head_is_a_protocol_error_and_closes_the_connection(answer):
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
async def test_a_truncated_body_is_an_error(answer):
    async with upstream(answering(answer, then_close=True)) as server:
        transport = ConnectionPoolTransport(server.url)
        response = await transport.handle_async_request(request())
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
        await response.aclose()
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_a_reset_within_a_body_is_a_read_error():
    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await trio.sleep(0.02)
        peer.reset()

    async with upstream(script) as server:
        response = await ConnectionPoolTransport(server.url).handle_async_request(request())
        with pytest.raises(httpx.ReadError):
            await response.aread()


async def test_interim_responses_are_no_response():
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with upstream(answering(interim + ok())) as server:
        assert await fetch(ConnectionPoolTransport(server.url), request()) == (200, b"ok")


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


class Trickle(httpx.AsyncByteStream):
    """A body that waits for the test before each piece."""

    def __init__(self):
        self.pieces, self._take = trio.open_memory_channel(0)

    async def __aiter__(self):
        async for piece in self._take:
            yield piece


def upload(body, nursery, **headers):
    headers = {"host": "up", "transfer-encoding": "chunked", **headers}
    return httpx.Request("POST", "http://up/x", headers=headers, stream=body, extensions={"nursery": nursery})


async def test_an_early_response_is_returned_and_the_connection_is_not_kept():
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


async def test_an_early_response_of_a_server_that_reads_on_keeps_the_connection():
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
    connection = UpstreamConnection(httpx.URL("http://up"), Resolver("up", 80), None)
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


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_look_up_connect_and_handshake_share_one_timeout(scheme):
    """No socket stays open."""

    class Silent(Resolver):
        async def resolve(self):
            await trio.sleep_forever()

    async def no_handshake(peer: Peer):
        await peer.rest()

    async with upstream(no_handshake) as server:
        resolver = Silent("h", 80) if scheme == "http" else None
        url = server.url.replace("http:", f"{scheme}:")
        context = client_context()
        transport = ConnectionPoolTransport(url, context=context, resolver=resolver, connect_timeout=0.1)
        with trio.fail_after(1), pytest.raises(httpx.ConnectTimeout, match="no connection within 0.1 s"):
            await transport.handle_async_request(request())
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_the_connect_timeout_does_not_limit_the_response():
    async def slow(peer: Peer):
        await peer.request()
        await trio.sleep(0.2)
        await peer.send(ok())

    async with upstream(slow) as server:
        assert await fetch(ConnectionPoolTransport(server.url, connect_timeout=0.1), request()) == (
            200,
            b"ok",
        )
