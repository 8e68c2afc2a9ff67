"""Requests and responses byte for byte: real sockets, with clients and upstreams that misbehave."""

import pytest
import trio

from tests.gateway.end_to_end.raw_http import GET, error, recording, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

HOSTILE = {
    "CL and TE": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 6\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /auth/smuggled HTTP/1.1\r\nHost: g\r\n\r\n",
    "two lengths": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n"
    b"GET /auth/smuggled HTTP/1.1\r\nHost: g\r\n\r\n",
    "equal lengths": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "folded length": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nX: y\r\n Content-Length: 3\r\n\r\nabc",
    "folded coding": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "obs-fold": b"GET /auth/x HTTP/1.1\r\nHost: g\r\nX-A: b\r\n\tc\r\n\r\n",
    "space before colon": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length : 3\r\n\r\nabc",
    "name in parentheses": b"GET /auth/x HTTP/1.1\r\nHost: g\r\n(x): y\r\n\r\n",
    "bare LF": b"GET /auth/x HTTP/1.1\nHost: g\n\n",
    "one bare LF": b"GET /auth/x HTTP/1.1\r\nHost: g\nX: y\r\n\r\n",
    "bare CR": b"GET /auth/x HTTP/1.1\r\nHost: g\r\nX: y\rZ: w\r\n\r\n",
    "NUL": b"GET /auth/x HTTP/1.1\r\nHost: g\r\nX: \0\r\n\r\n",
    "no host": b"GET /auth/x HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /auth/x HTTP/1.1\r\nHost: g\r\nHost: h\r\n\r\n",
    "bad chunk": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "bad second chunk": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\na\r\n-1\r\nGET /auth/smuggled HTTP/1.1\r\nHost: g\r\n\r\n",
    "chunk too long": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\nab\r\n0\r\n\r\n",
    "chunk ends in LF": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    "chunked twice": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked, chunked\r\n\r\n"
    b"0\r\n\r\n",
    "xchunked": b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /auth/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "endless head": b"GET /auth/x HTTP/1.1\r\nHost: g\r\n" + b"X-Long: y\r\n" * 4000,
    "endless line": b"GET /auth/" + b"x" * 40_000,
    "a TLS client": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.usefixtures("clear_and_tls")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_request_gets_one_4xx_and_the_connection_closes(data):
    """No part of it is taken for another request."""
    seen = []
    status = 431 if data is HOSTILE["endless head"] else 414 if data is HOSTILE["endless line"] else 400
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        assert error(await talk(gateway.port, data)) == (status, "INVALID_REQUEST")
    assert not any(b"smuggled" in one for one in seen)


@pytest.mark.usefixtures("clear_and_tls")
async def test_a_bad_chunk_in_an_upload_is_answered_at_once():
    """The breaker counts a cancellation."""
    begun = trio.Event()

    async def script(peer: Peer):
        await peer.until(b"abc")
        begun.set()
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await begun.wait()
        with trio.fail_after(5):
            await peer.send(b"xyz")
            await peer.until(b"\r\n\r\n")
            assert b"INVALID_REQUEST" in await peer.until(b"}")
        assert await gateway.counts() == {"cancelled": 1}


async def test_a_head_that_takes_too_long_is_400():
    """Although its bytes keep coming."""
    async with served(client_header_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        with trio.fail_after(2):
            for byte in GET:
                await trio.sleep(0.01)
                try:
                    await peer.send(bytes((byte,)))
                except trio.BrokenResourceError:
                    break
            assert error(await peer.rest()) == (400, "INVALID_REQUEST")


async def test_an_idle_connection_is_closed_without_a_response():
    """Before its first request, and between two."""
    async with (
        upstream(answering(ok())) as server,
        served(auth=server.url, client_idle_timeout=0.2) as gateway,
    ):
        for data in (b"", GET):
            peer = await connect(gateway.port)
            await peer.send(data)
            if data:
                await peer.until(b"\r\n\r\nok")
            assert 0.15 < await peer.closed(within=1) < 0.6


@pytest.mark.parametrize("head", [HOSTILE["CL and TE"], b"GET /auth/x HTTP/1.1\r\nConnection: close\r\n\r\n"])
async def test_a_client_that_keeps_sending_gets_its_refusal_and_no_reset(head):
    async with served() as gateway:
        peer = await connect(gateway.port)
        await peer.send(head)
        with trio.fail_after(3):
            for _ in range(20):
                await peer.send(bytes(100_000))
                await trio.sleep(0.005)
            await peer.stream.send_eof()
            answer = await peer.until(b"}")
        assert error(answer) == (400, "INVALID_REQUEST")


@pytest.mark.usefixtures("clear_and_tls")
async def test_a_body_that_stops_is_408_and_no_failure():
    async def patient(peer: Peer):
        await peer.rest()

    async with upstream(patient) as server, served(auth=server.url, client_body_timeout=0.1) as gateway:
        answer = await talk(gateway.port, b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nab")
        assert error(answer) == (408, "REQUEST_TIMEOUT")
        assert await gateway.counts() == {"cancelled": 1}


@pytest.mark.usefixtures("clear_and_tls")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
async def test_pipelined_requests_get_their_responses_in_order(size):
    """The requests may arrive in any pieces."""
    seen = []
    data = (
        b"POST /auth/1 HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n"
        b"\r\nPUT /auth/2 HTTP/1.1\r\nHost: g\r\nContent-Length: 37\r\n\r\n"
        b"GET /auth/no HTTP/1.1\r\nHost: g\r\n\r\nx\r\n"
        b"GET /auth/3 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
    )
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        async with trio.open_nursery() as nursery:

            async def write():
                for at in range(0, len(data), size):
                    await peer.send(data[at : at + size])
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(write)
            with trio.fail_after(3):
                answer = await peer.rest()
    assert [one.split(b" ")[1] for one in seen] == [b"/1", b"/2", b"/3"]
    assert seen[0].endswith(b"0\r\n\r\n")
    assert seen[1].endswith(b"\r\n\r\nGET /auth/no HTTP/1.1\r\nHost: g\r\n\r\nx\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize("pause", [0, 1, 2])
async def test_an_empty_line_before_a_request_is_ignored(pause):
    """RFC 9112, 2.2."""
    data = b"\r\n" + GET
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(data[:pause])
        await trio.sleep(0.02)
        await peer.send(data[pause:])
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")


GARBAGE = {
    "length and chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    b"0\r\n\r\n",
    "control byte": b"HTTP/1.1 200 OK\r\nx-a: b\x01c\r\ncontent-length: 0\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nx-a: \0\r\ncontent-length: 0\r\n\r\n",
    "equal lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
    "bad length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"x-long: y\r\n" * 7000,
    "endless 1xx": b"HTTP/1.1 102 Processing\r\n\r\n" * 100,
    "space before colon": b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
async def test_an_invalid_response_is_502_and_a_failure(answer):
    data = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with upstream(answering(answer)) as server, served(auth=server.url) as gateway:
        got = await talk(gateway.port, data)
        assert error(got[got.rindex(b"HTTP/1.1 5") :]) == (502, "SERVICE_UNAVAILABLE")
        assert await gateway.counts() == {"failure": 1}


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    ],
    ids=["chunked", "short"],
)
async def test_a_truncated_body_ends_in_a_reset_for_http_1_0(begun):
    """If only the close ends the body."""
    go = trio.Event()

    async def cut(peer: Peer):
        await peer.request()
        await peer.send(begun)
        await go.wait()

    async with upstream(cut) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"GET /auth/x HTTP/1.0\r\n\r\n")
        with trio.fail_after(2):
            got = await peer.until(b"abc")
            go.set()
            if b"content-length: 9" in got:
                assert await peer.stream.receive_some() == b""
            else:
                assert b"chunked" not in got
                with pytest.raises(trio.BrokenResourceError):
                    await peer.stream.receive_some()


@pytest.mark.usefixtures("clear_and_tls")
async def test_a_chunked_response_reaches_http_1_0_with_a_clean_end():
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with upstream(answering(whole)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"GET /auth/x HTTP/1.0\r\n\r\n")
        head = await peer.until(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert await peer.exactly(5) == b"abcde"
        assert await peer.stream.receive_some() == b""
