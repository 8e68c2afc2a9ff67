"""What crosses the gateway, byte for byte: real sockets on both sides, and nobody behaves."""

import json
import re

import pytest
import trio

from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

GET = b"GET /auth/x HTTP/1.1\r\nHost: gateway\r\n\r\n"


def recording(seen, answer=None):
    """An upstream that keeps what it is sent."""

    async def script(peer: Peer):
        while True:
            seen.append(await peer.request())
            await peer.send(ok() if answer is None else answer)

    return script


async def talk(port, data, within=3.0):
    """Everything that these bytes are answered with until the connection closes; it has to."""
    peer = await connect(port)
    with trio.fail_after(within):
        await peer.send(data)
        answer = await peer.rest()
    await peer.stream.aclose()
    return answer


def fields(message, name):
    """The values of one field of a message."""
    head = message.partition(b"\r\n\r\n")[0]
    return re.findall(rb"(?im)^%b: *(.*?)\r?$" % name, head)


def error(answer):
    """Status and code of a single answer of the gateway's own."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(fields(answer, b"content-length")[0]) == len(body)
    assert fields(answer, b"content-type") == [b"application/json"]
    assert len(fields(answer, b"date")) == len(fields(answer, b"x-request-id")) == 1
    return int(head.split()[1]), json.loads(body)["error"]


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


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_requests(data):
    """One answer, 4xx, and the connection is closed; nothing of it is ever taken for another request."""
    seen = []
    status = 431 if data is HOSTILE["endless head"] else 414 if data is HOSTILE["endless line"] else 400
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        assert error(await talk(gateway.port, data)) == (status, "INVALID_REQUEST")
    assert not any(b"smuggled" in one for one in seen)


async def test_a_bad_chunk_is_answered_at_once():
    """In the middle of an upload too, and the breaker doesn't count it."""
    begun = trio.Event()

    async def script(peer: Peer):
        await peer.until(b"abc")
        begun.set()
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await begun.wait()
        with trio.fail_after(0.5):
            await peer.send(b"xyz")
            await peer.until(b"\r\n\r\n")
            assert b"INVALID_REQUEST" in await peer.until(b"}")
        assert await gateway.counts() == {"cancelled": 1}


async def test_slow_heads():
    """A head that isn't there in time is 400, though its bytes keep coming."""
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


async def test_a_connection_that_says_nothing():
    """It is closed, without an answer, before its first request and between two."""
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
async def test_a_refusal_survives_what_is_still_sent(head):
    """A client that sends on, and reads only then, gets its answer and no reset."""
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


async def test_a_client_that_stops_sending():
    """408 when no piece of the body comes in time; the upstream's time has nothing to do with it."""

    async def patient(peer: Peer):
        await peer.rest()

    async with upstream(patient) as server, served(auth=server.url, client_body_timeout=0.1) as gateway:
        answer = await talk(gateway.port, b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nab")
        assert error(answer) == (408, "REQUEST_TIMEOUT")
        assert await gateway.counts() == {"cancelled": 1}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
async def test_requests_in_one_stream(size):
    """Three requests on one connection, however their bytes are cut: three answers, in order."""
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
async def test_an_empty_line_before_a_request(pause):
    """It is a leftover of the one before it (RFC 9112, 2.2), however its bytes come."""
    data = b"\r\n" + GET
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(data[:pause])
        await trio.sleep(0.02)
        await peer.send(data[pause:])
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")


async def test_h2c_and_http2():
    """No upgrade happens, none of its fields go on; HTTP/2 by prior knowledge is refused."""
    seen = []
    upgrade = (
        b"GET /auth/x HTTP/1.1\r\nHost: g\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, upgrade)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await talk(gateway.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).startswith(b"HTTP/1.1 505 ")
    assert len(seen) == 1
    assert not re.search(rb"(?i)upgrade|http2|connection", b"".join(seen))


@pytest.mark.parametrize("path", [b"/auth/x", b"/livez", b"/dashboard"])
async def test_a_websocket_handshake_is_an_ordinary_request(path):
    """It is answered 426, with an id, on every route; no service sees it, and the connection goes on."""
    seen = []
    handshake = (
        b"GET %b HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % path
    )
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, handshake + GET[:-2] + b"Connection: close\r\n\r\n")
    refused, _, next_answer = answer.partition(b"HTTP/1.1 200 OK")
    assert error(refused) == (426, "INVALID_REQUEST")
    assert fields(refused, b"upgrade") == [b"HTTP/1.1"]
    assert fields(refused, b"connection") == [b"upgrade"]
    assert next_answer
    assert len(seen) == 1


@pytest.mark.parametrize("coding", [b"Content-Length: 37", b"Transfer-Encoding: chunked"])
async def test_the_body_of_a_request_that_offers_an_upgrade(coding):
    """It is a body, however much it looks like a request."""
    seen = []
    inner = b"GET /auth/no HTTP/1.1\r\nHost: g\r\n\r\nabc\r\n"[:37]
    body = inner if b"37" in coding else b"25\r\n%b\r\n0\r\n\r\n" % inner
    head = (
        b"POST /auth/x HTTP/1.1\r\nHost: g\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n%b\r\n\r\n" % coding
    )
    last = GET[:-2].replace(b"/x", b"/y") + b"Connection: close\r\n\r\n"
    for cut in (0, 1, 20, len(body)):
        async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
            peer = await connect(gateway.port)
            await peer.send(head + body[:cut])
            await trio.sleep(0.02)
            await peer.send(body[cut:] + last)
            with trio.fail_after(2):
                answer = await peer.rest()
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert [one.split(b" ")[1] for one in seen] == [b"/x", b"/y"]
        # A chunked body may come in other chunks than it was sent in.
        assert seen[0].endswith(body) or (b"chunked" in coding and b"GET" in seen[0])
        seen.clear()


async def test_an_empty_query_is_kept():
    """`?` with nothing behind it, and everything else of a query, arrives as it was."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        for target in (b"/auth/x?", b"/auth/x??", b"/auth/x?a=&b", b"/auth/%2F%20+?q=+%20%2f", b"/auth/x"):
            await talk(gateway.port, b"GET %b HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n" % target)
    got = [one.split(b" ")[1] for one in seen]
    assert got == [b"/x?", b"/x??", b"/x?a=&b", b"/%2F%20+?q=+%20%2f", b"/x"]


async def test_a_method_is_case_sensitive():
    """`get` isn't GET: it is no method that a server knows."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, b"get /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert error(answer) == (501, "INVALID_REQUEST")
    assert seen == []


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
async def test_garbage_from_upstream(answer):
    """502, and the breaker counts a failure."""
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
async def test_a_cut_body_for_http_1_0(begun):
    """Where only the close ends a body, one that was cut ends in a reset: nobody takes it for whole."""
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


async def test_http_1_0_gets_a_whole_body():
    """Chunked upstream, HTTP/1.0 client: the bytes, then a clean end."""
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with upstream(answering(whole)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"GET /auth/x HTTP/1.0\r\n\r\n")
        head = await peer.until(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert await peer.exactly(5) == b"abcde"
        assert await peer.stream.receive_some() == b""


async def test_early_hints():
    """103 and 102 reach the client before the answer, without what is hop-by-hop; HTTP/1.0 sees none."""
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
        with trio.fail_after(0.5):
            assert await peer.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await peer.send(b"abc")
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert fields(seen[0], b"expect") == [b"100-continue"]
    assert seen[1] == b"abc"


async def test_an_expectation_refused():
    """A final answer instead of 100: the client gets it, never a 100, and the connection closes."""

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


async def test_a_service_that_ignores_an_expectation():
    """After a second the gateway itself lets the client go on; a client that leaves meanwhile is seen."""

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


TRAILED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n"
    b"0\r\nx-sum: 7\r\ntransfer-encoding: gzip\r\nx-failure-origin: me\r\n\r\n"
)


async def test_trailers():
    """Passed on to who asks for them; a trailer never changes what frames or routes a message."""
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


async def test_trailers_of_a_request_end_here():
    """They are read, so that they can't be taken for a request, and go no further."""
    seen = []
    data = (
        b"POST /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: x-sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nAuthorization: no\r\n\r\n"
    )
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        assert (await talk(gateway.port, data)).startswith(b"HTTP/1.1 200 ")
    assert seen[0].endswith(b"\r\n\r\n1\r\na\r\n0\r\n\r\n")
    assert b"sum" not in seen[0]


async def test_max_forwards():
    """One less at each hop; with none left OPTIONS and TRACE are answered here."""
    seen = []

    def asking(method, left):
        return b"%b /auth/x HTTP/1.1\r\nHost: g\r\nMax-Forwards: %b\r\nConnection: close\r\n\r\n" % (
            method,
            left,
        )

    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, asking(b"OPTIONS", b"0"))
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"GET" in fields(answer, b"allow")[0]
        answer = await talk(gateway.port, asking(b"TRACE", b"0"))
        assert error(answer) == (405, "METHOD_NOT_ALLOWED")
        assert seen == []
        for method, left in ((b"OPTIONS", b"3"), (b"TRACE", b"1"), (b"GET", b"0"), (b"OPTIONS", b"x")):
            await talk(gateway.port, asking(method, left))
        assert [fields(one, b"max-forwards") for one in seen] == [[b"2"], [b"0"], [b"0"], [b"x"]]


async def test_options_of_the_server():
    """OPTIONS * asks the gateway; CONNECT asks for what it doesn't do."""
    async with served() as gateway:
        answer = await talk(gateway.port, b"OPTIONS * HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert b"content-length" not in answer
        answer = await talk(gateway.port, b"CONNECT g:80 HTTP/1.1\r\nHost: g:80\r\nConnection: close\r\n\r\n")
        assert error(answer) == (400, "INVALID_REQUEST")


async def test_via_is_appended():
    """Each hop adds itself behind those before it, with the version that it was asked in."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        await talk(gateway.port, b"GET /auth/x HTTP/1.0\r\nVia: 1.1 before\r\nVia: 1.0 p\r\n\r\n")
    assert fields(seen[0], b"via") == [b"1.1 before", b"1.0 p", b"1.0 api-gateway"]


FORWARDED = (
    b"GET /auth/x HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.1.1.1\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: school.example\r\nForwarded: for=6.6.6.6\r\n"
    b"X-Real-IP: 6.6.6.6\r\nConnection: close, X-Forwarded-For\r\n\r\n"
)


async def test_a_trusted_proxy():
    """It is believed, but not what its client claims; anybody else isn't believed at all."""
    seen = []
    async with upstream(recording(seen)) as server:
        async with served(auth=server.url, trusted_proxies="127.0.0.0/8, 10.0.0.0/8") as gateway:
            await talk(gateway.port, FORWARDED)
        async with served(auth=server.url, trusted_proxies="10.0.0.0/8") as gateway:
            await talk(gateway.port, FORWARDED)
    trusted, not_trusted = seen
    assert fields(trusted, b"x-forwarded-for") == [b"198.51.100.7, 10.1.1.1, 127.0.0.1"]
    assert fields(trusted, b"x-forwarded-proto") == [b"https"]
    assert fields(trusted, b"x-forwarded-host") == [b"school.example"]
    assert fields(trusted, b"forwarded") == [
        b'for=198.51.100.7;host="school.example";proto=https, for=10.1.1.1, for=127.0.0.1'
    ]
    assert fields(not_trusted, b"x-forwarded-for") == [b"127.0.0.1"]
    assert fields(not_trusted, b"x-forwarded-proto") == [b"http"]
    assert fields(not_trusted, b"x-forwarded-host") == [b"inner"]
    assert b"6.6.6.6" not in trusted + not_trusted


async def test_limits_are_of_the_client_behind_a_trusted_proxy():
    """Clients of one proxy don't use up each other's share."""
    limits = {"rate_limit_per_minute": 1, "trusted_proxies": "127.0.0.1"}
    async with upstream(answering(ok())) as server, served(auth=server.url, **limits) as gateway:
        statuses = []
        for address in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
            data = b"GET /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\nX-Forwarded-For: %b\r\n\r\n"
            statuses.append((await talk(gateway.port, data % address)).split()[1])
    assert statuses == [b"200", b"200", b"429"]
