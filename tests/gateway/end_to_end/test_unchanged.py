"""The gateway leaves requests and responses as they are: raw bytes, on both sides."""

import pytest
import trio

from tests.gateway.end_to_end.raw_http import GET, fields, recording, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

CLOSE = b"Connection: close\r\n\r\n"
PART = (
    b'HTTP/1.1 206 Partial Content\r\netag: "v1"\r\ncontent-range: bytes 2-4/9\r\naccept-ranges: bytes\r\n'
    b"content-length: 3\r\n\r\ncde"
)
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\netag: W/"v1"\r\ncontent-length: 9\r\nvary: accept\r\n\r\n'


async def test_range_requests_and_206_responses_pass_unchanged():
    seen = []
    asked = GET[:-2] + b'Range: bytes=2-4,7-\r\nIf-Range: "v1"\r\n' + CLOSE
    async with upstream(recording(seen, PART)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, asked)
    assert (fields(seen[0], b"range"), fields(seen[0], b"if-range")) == ([b"bytes=2-4,7-"], [b'"v1"'])
    assert answer.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert fields(answer, b"content-range") == [b"bytes 2-4/9"]
    assert (fields(answer, b"etag"), fields(answer, b"accept-ranges")) == ([b'"v1"'], [b"bytes"])
    assert answer.endswith(b"\r\n\r\ncde")


async def test_a_304_with_a_length_ends_at_its_head():
    """The connection serves the next request."""
    seen = []
    asked = GET[:-2] + b'If-None-Match: W/"v1", "v2"\r\nIf-Modified-Since: x\r\n\r\n'
    async with upstream(recording(seen, NOT_MODIFIED)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        for _ in range(2):
            with trio.fail_after(1):
                await peer.send(asked)
                head = await peer.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 304 Not Modified\r\n")
            assert fields(head, b"etag") == [b'W/"v1"']
            assert fields(head, b"content-length") == [b"9"]
        assert peer.buffer == b""
        assert server.connections == 1
    assert fields(seen[0], b"if-none-match") == [b'W/"v1", "v2"']


async def test_options_and_unknown_statuses_are_the_services():
    answers = (
        b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\nallow: GET\r\n\r\n",
        b"HTTP/1.1 299 \xfcber\r\nallow: GET\r\ncontent-length: 0\r\n\r\n",
    )
    async with upstream(answering(*answers)) as server, served(auth=server.url) as gateway:
        for status in (b"205", b"299"):
            answer = await talk(gateway.port, b"OPTIONS /auth/x HTTP/1.1\r\nHost: g\r\n" + CLOSE)
            assert answer.split(b" ")[1] == status
            assert fields(answer, b"allow") == [b"GET"]
            assert answer.endswith(b"\r\n\r\n")


async def test_a_response_to_head_has_no_body():
    """From the service, from the gateway, and in a refusal."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: b\r\n\r\n"
    async with upstream(answering(chunked)) as server, served(auth=server.url) as gateway:
        for line, status in (
            (b"HEAD /auth/x HTTP/1.1\r\nHost: g\r\n", b"200"),
            (b"HEAD /nothing HTTP/1.1\r\nHost: g\r\n", b"404"),
            (b"HEAD /schools HTTP/1.1\r\nHost: g\r\n", b"401"),
            (b"HEAD /livez HTTP/1.1\r\nHost: g\r\n", b"200"),
            (b"HEAD /auth/x HTTP/1.1\r\n", b"400"),
            (b"HEAD /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: gzip, chunked\r\n", b"501"),
        ):
            answer = await talk(gateway.port, line + CLOSE)
            assert answer.split(b" ")[1] == status
            assert answer.index(b"\r\n\r\n") == len(answer) - 4


async def test_codings_and_odd_values_pass():
    """gzip stays gzip, in chunks too; a Location, a Link or a reason that looks odd is the service's."""
    odd = (
        b"HTTP/1.1 201 \xe9\r\nlocation: //evil/%0d%0aset-cookie:x?q= \xff\r\ncontent-encoding: gzip\r\n"
        b"transfer-encoding: chunked\r\nx-empty:\r\nx-twice: 1\r\nset-cookie: a=b; Path=/\r\nx-twice: 2\r\n"
        b"set-cookie: a=c\r\n\r\n3\r\n\x1f\x8b\x08\r\n2;x=y\r\n\0\r\r\n0\r\n\r\n"
    )
    async with upstream(answering(odd)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, GET[:-2] + CLOSE)
        plain = await talk(gateway.port, b"GET /auth/x HTTP/1.0\r\n\r\n")
    assert fields(answer, b"location") == [b"//evil/%0d%0aset-cookie:x?q= \xff"]
    assert fields(answer, b"content-encoding") == [b"gzip"]
    assert fields(answer, b"x-empty") == [b""]
    assert fields(answer, b"x-twice") == [b"1", b"2"]
    assert fields(answer, b"set-cookie") == [b"a=b; Path=/auth/", b"a=c"]
    assert fields(answer, b"content-length") == []
    assert plain.endswith(b"\r\n\r\n\x1f\x8b\x08\0\r")


@pytest.mark.parametrize("dates", [0, 1, 2])
async def test_a_response_has_one_date(dates):
    """The service's first one, or the gateway's if it has none."""
    given = [b"date: Tue, 01 Jan 2019 00:00:0%d GMT" % n for n in range(dates)]
    async with upstream(answering(ok(b"ok", *given))) as server, served(auth=server.url) as gateway:
        [date] = fields(await talk(gateway.port, GET[:-2] + CLOSE), b"date")
    assert (date == b"Tue, 01 Jan 2019 00:00:00 GMT") == bool(dates)
    assert date.endswith(b" GMT")


async def test_fields_that_a_services_connection_lists_are_dropped():
    """Fields that frame the response are kept."""
    answer = ok(
        b"ok",
        b"connection: Set-Cookie, X-Hop, keep-alive, Content-Length, Date",
        b"set-cookie: a=b",
        b"x-hop: 1",
        b"date: then",
        b"proxy-authenticate: Basic",
        b"proxy-anything: x",
        b"upgrade: h2c",
        b"keep-alive: timeout=5",
    )
    async with upstream(answering(answer)) as server, served(auth=server.url) as gateway:
        got = await talk(gateway.port, GET[:-2] + CLOSE)
    names = [line.partition(b":")[0] for line in got.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert sorted(names) == [b"connection", b"content-length", b"date", b"x-request-id"]
    assert fields(got, b"connection") == [b"close"]


async def test_a_204_that_announces_a_body_closes_the_services_connection():
    for said in (b"transfer-encoding: chunked", b"content-length: 5"):
        first = b"HTTP/1.1 204 No Content\r\n" + said + b"\r\n\r\n"
        async with upstream(answering(first)) as server, served(auth=server.url) as gateway:
            peer = await connect(gateway.port)
            for _ in range(2):
                with trio.fail_after(1):
                    await peer.send(GET)
                    head = await peer.until(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 204 ")
                assert fields(head, b"content-length") == fields(head, b"transfer-encoding") == []
            assert server.connections == 2


async def test_a_head_may_arrive_byte_by_byte():
    """From the client and from the service."""

    async def script(peer: Peer):
        await peer.request()
        for byte in ok(b"ok", b"x-a: b"):
            await peer.send(bytes((byte,)))
            await trio.lowlevel.checkpoint()
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        with trio.fail_after(3):
            for byte in GET:
                await peer.send(bytes((byte,)))
                await trio.lowlevel.checkpoint()
            assert (await peer.until(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK\r\n")
