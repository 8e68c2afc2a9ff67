"""Interim responses, expectations and trailers."""

import pytest
import trio

from tests.gateway.end_to_end.raw_http import GET, TRAILED, error, fields, recording, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, connect, ok, upstream


@pytest.mark.usefixtures("clear_and_tls")
async def test_interim_responses_reach_the_client_before_the_response():
    """Without hop-by-hop fields. An HTTP/1.0 client gets none."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\nkeep-alive: x\r\n\r\n"
    go = trio.Event()

    async def script(peer: Peer):
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + hints)
            await go.wait()
            await peer.send(ok())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(1):
            assert await peer.until(b"\r\n\r\n") == b"HTTP/1.1 102 Processing\r\n\r\n"
            assert (
                await peer.until(b"\r\n\r\n")
                == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n"
            )
            go.set()
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await talk(gateway.port, b"GET /auth/x HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


EXPECTING = b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"


@pytest.mark.usefixtures("clear_and_tls")
async def test_expect_reaches_the_service():
    """The service gets the expectation, and its 100 lets the client go on."""
    go = trio.Event()
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.until(b"\r\n\r\n"))
        await go.wait()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.append(await peer.exactly(3))
        await peer.send(ok())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(EXPECTING)
        with trio.move_on_after(0.2):
            pytest.fail(str(await peer.until(b"\r\n\r\n")))
        go.set()
        with trio.fail_after(5):
            assert await peer.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await peer.send(b"abc")
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert fields(seen[0], b"expect") == [b"100-continue"]
    assert seen[1] == b"abc"


@pytest.mark.usefixtures("clear_and_tls")
async def test_a_final_response_instead_of_100_reaches_the_client_and_closes():
    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, EXPECTING)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"connection: close\r\n\r\nno")
        unknown = EXPECTING.replace(b"/auth/x", b"/schools")
        assert error(await talk(gateway.port, unknown)) == (401, "MISSING_TOKEN")


async def test_the_gateway_sends_100_after_a_second_without_one():
    """A client that leaves meanwhile is noticed."""

    async def script(peer: Peer):
        head = await peer.until(b"\r\n\r\n")
        await peer.body(head)
        await peer.send(ok())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(EXPECTING)
        with trio.fail_after(2):
            assert await peer.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await peer.send(b"abc")
            await peer.until(b"\r\n\r\nok")
        leaving = await connect(gateway.port)
        await leaving.send(EXPECTING)
        await trio.sleep(0.1)
        assert (await gateway.snapshot()).in_flight == 1
        await leaving.stream.aclose()
        await trio.sleep(0.1)
        assert (await gateway.snapshot()).in_flight == 0


@pytest.mark.usefixtures("clear_and_tls")
async def test_trailers_reach_a_client_that_accepts_them():
    """A trailer can't change the framing or the charging of a response."""
    seen = []
    async with upstream(recording(seen, TRAILED)) as server, served(auth=server.url) as gateway:
        asking = GET[:-2] + b"TE: trailers, gzip\r\nConnection: te, close\r\n\r\n"
        answer = await talk(gateway.port, asking)
        assert fields(answer, b"trailer") == [b"x-sum"]
        assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n")
        assert (fields(seen[0], b"te"), fields(seen[0], b"connection")) == ([b"trailers"], [b"te"])
        answer = await talk(gateway.port, GET[:-2] + b"Connection: close\r\n\r\n")
        assert fields(answer, b"trailer") == []
        assert answer.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert fields(seen[1], b"te") == []
        answer = await talk(gateway.port, b"GET /auth/x HTTP/1.0\r\nTE: trailers\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nabc")
        assert fields(answer, b"trailer") == fields(seen[2], b"te") == []


async def test_trailers_of_a_request_are_read_and_dropped():
    seen = []
    data = (
        b"POST /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: x-sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nAuthorization: no\r\n\r\n"
    )
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        assert (await talk(gateway.port, data)).startswith(b"HTTP/1.1 200 ")
    assert seen[0].endswith(b"\r\n\r\n1\r\na\r\n0\r\n\r\n")
    assert b"sum" not in seen[0]
