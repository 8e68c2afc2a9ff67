"""Hostile requests that are almost valid, as proxies are known to misread them: raw bytes, on both sides."""

import re

import pytest
import trio

from tests.gateway.end_to_end.raw_http import GET, error, fields, recording, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

CLOSE = b"Connection: close\r\n\r\n"
LISTED = (
    b"GET /auth/x HTTP/1.1\r\nHost: inner\r\n"
    b"Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Forwarded, X-Request-ID\r\n"
    b"Connection: Via,Host,X-Request-Timeout-Ms,,Cookie , AUTHORIZATION\r\n"
    b"X-Forwarded-For: 6.6.6.6\r\nX-Request-ID: mine\r\nCookie: a\r\nAuthorization: b\r\nAccept: c\r\n\r\n"
)


async def test_connection_removes_the_clients_fields_and_none_of_the_gateways():
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, LISTED)
    assert fields(seen[0], b"host") == [b"inner"]
    assert fields(seen[0], b"x-forwarded-for") == [b"127.0.0.1"]
    assert fields(seen[0], b"x-forwarded-proto") == [b"http"]
    assert fields(seen[0], b"x-forwarded-host") == [b"inner"]
    assert fields(seen[0], b"forwarded") == [b'for=127.0.0.1;host="inner";proto=http']
    assert fields(seen[0], b"via") == [b"1.1 api-gateway"]
    assert fields(seen[0], b"x-request-id") == fields(answer, b"x-request-id") == [b"mine"]
    assert len(fields(seen[0], b"x-request-timeout-ms")) == 1
    assert fields(seen[0], b"accept") == [b"c"]
    assert fields(seen[0], b"cookie") == fields(seen[0], b"authorization") == []


async def test_proxy_and_x_forwarded_fields_of_a_client_are_dropped():
    seen = []
    names = (
        b"Proxy-Authorization",
        b"Proxy-Connection",
        b"Proxy-Foo",
        b"X-Forwarded-User",
        b"X-Forwarded-Ssl",
    )
    lines = b"".join(name + b": spoofed\r\n" for name in names)
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        await talk(
            gateway.port, GET[:-2] + lines + b"TE: trailers;q=1, gzip\r\nConnection: close, TE\r\n\r\n"
        )
    assert b"spoofed" not in seen[0]
    assert fields(seen[0], b"te") == [b"trailers"]


@pytest.mark.parametrize(
    "target",
    [
        b"/auth/health",
        b"/auth/%68ealth",
        b"/auth/%2568ealth",
        b"/auth//health/",
        b"/auth/health;x",
        b"/auth\\metrics",
        b"/auth/breakers/auth-database?x",
        b"/auth/admin/breakers",
        b"http://gateway/auth/health",
        b"HTTP://gateway:80//auth/health",
        b"http://gateway/auth/%2e/health",
    ],
)
async def test_a_services_own_pages_are_404(target):
    """A 503 of a health page would open the breaker of a service that works."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\n" + CLOSE)
    assert error(answer) == (404, "NOT_FOUND")
    assert seen == []


@pytest.mark.usefixtures("clear_and_tls")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT /auth/x HTTP/1.1", 400),
        (b"connect /auth/x HTTP/1.1", 501),
        (b"head /auth/x HTTP/1.1", 501),
        (b"GET http://user@g/auth/x HTTP/1.1", 400),
        (b"GET http://g:x/auth/x HTTP/1.1", 400),
        (b"GET http://:80/auth/x HTTP/1.1", 400),
        (b"GET ftp://g/auth/x HTTP/1.1", 400),
        (b"GET auth/x HTTP/1.1", 400),
        (b"GET /auth/x http/1.1", 400),
        (b"GET /auth/x HTTP/1.1\x0b", 400),
        (b"GET\x0c/auth/x HTTP/1.1", 400),
        (b"GET /auth/x HTTP/0.9", 505),
        (b"GET /auth/\0 HTTP/1.1", 400),
        (b"GET /auth/\xc0\xae\xc0\xae/x HTTP/1.1", 400),
    ],
)
async def test_an_invalid_request_line_reaches_no_service(line, status):
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        assert error(await talk(gateway.port, line + b"\r\nHost: g\r\n" + CLOSE)) == (
            status,
            "INVALID_REQUEST",
        )
        assert server.connections == 0


async def test_an_https_url_in_clear_text_is_421():
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        data = b"GET https://g/auth/x HTTP/1.1\r\nHost: g\r\n" + CLOSE
        assert error(await talk(gateway.port, data)) == (421, "INVALID_REQUEST")
        assert server.connections == 0


async def test_a_trusted_proxy_that_ends_tls_may_request_https_urls():
    data = b"GET https://g/auth/x HTTP/1.1\r\nHost: g\r\nX-Forwarded-Proto: https\r\n"
    async with (
        upstream(answering(ok())) as server,
        served(auth=server.url, trusted_proxies="127.0.0.1") as gateway,
    ):
        assert (await talk(gateway.port, data + CLOSE)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host",
    [
        *(b"a,b", b"a:b", b"a:80:90", b"[::1", b"u@g", b"g/x", b"g g", b"g?x", b'"g"', b"g;x=y", b"g\t.h"),
        # no names either: a framework would fail with 500, which a breaker would count
        *(b".", b"a..b", b".a", b"a" * 64, b"%00", b"a=b"),
    ],
)
async def test_an_invalid_host_is_400(host):
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        data = b"GET /auth/x HTTP/1.1\r\nHost: %b\r\n" % host + CLOSE
        assert error(await talk(gateway.port, data)) == (400, "INVALID_REQUEST")
        assert server.connections == 0


@pytest.mark.parametrize("version", [b"1.1", b"1.2", b"1.9"])
@pytest.mark.parametrize(
    "host", [b"g", b"g:80", b"g:", b"[2001:db8::1]:8080", b"a_b.example", b"192.0.2.1", b"g.h.", b""]
)
async def test_a_valid_host_is_passed_on_unchanged(host, version):
    """The response to a later HTTP/1 is HTTP/1.1."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, b"GET /auth/x HTTP/%b\r\nHost: %b\r\n" % (version, host) + CLOSE)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (fields(seen[0], b"host"), fields(seen[0], b"x-forwarded-host")) == ([host], [host])
    assert fields(seen[0], b"via") == [b"1.1 api-gateway"]


@pytest.mark.parametrize(
    "path",
    [
        b"/auth/..;/x",
        b"/auth/..;a=b/x",
        b"/auth/%2e%2e%3b/x",
        b"/auth/.;/x",
        b"/auth/a/..\\..\\x",
        b"/auth/%2e%2e%5cx",
        b"/auth/..%2fx",
        b"/authx/y",
        b"/auth%2fx",
        b"/%61uth/x",
        b"//auth/x",
        b"/;/auth/x",
        b"/Auth/x",
    ],
)
async def test_a_path_outside_all_routes_is_404(path):
    """Dots and encoded slashes don't lead out of a route."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, b"GET %b HTTP/1.1\r\nHost: g\r\n" % path + CLOSE)
        assert error(answer) == (404, "NOT_FOUND")
        assert server.connections == 0


@pytest.mark.usefixtures("clear_and_tls")
async def test_bytes_behind_the_last_request_are_no_request():
    """Behind Connection: close, or behind HTTP/1.0."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        for last in (GET[:-2] + CLOSE, b"GET /auth/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"):
            answer = await talk(gateway.port, last + GET)
            assert answer.count(b"HTTP/1.1 ") == 1
            assert fields(answer, b"connection") == [b"close"]
    assert len(seen) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3;a\rb\r\nabc\r\n0\r\n\r\n",
        b'3;a="\n"\r\nabc\r\n0\r\n\r\n',
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"11111111111111113\r\nabc",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"0\r\nGET /auth/smuggled HTTP/1.1\r\nHost: g\r\n\r\n",
        b"0\r\n\r\r\n",
        b"0\r\nX: y\n\r\n",
    ],
)
async def test_an_invalid_chunk_is_400_at_once(body):
    """The service gets neither an end of the body nor another request."""
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.rest())

    head = b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with upstream(script) as server, served(auth=server.url) as gateway:
        with trio.fail_after(1):
            assert error(await talk(gateway.port, head + body)) == (400, "INVALID_REQUEST")
        await trio.sleep(0.02)
    assert not re.search(rb"smuggled|\r\n0\r\n", b"".join(seen))


@pytest.mark.parametrize(
    "field",
    [
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 1_0",
        b"Content-Length: 0x5",
        b"Content-Length: 5 ",  # only this one is a number
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding : chunked",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5",  # another name
        b"Transfer-Encoding: identity, chunked",
        b"Content-Length: 5\r\nTransfer-encoding: x",
    ],
)
async def test_a_body_length_has_one_reading_or_is_refused(field):
    seen = []
    data = b"POST /auth/x HTTP/1.1\r\nHost: g\r\n" + field + b"\r\nConnection: close\r\n\r\n12345"
    good = field in (b"Content-Length: 5 ", b"Transfer_Encoding: chunked\r\nContent-Length: 5")
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, data)
    assert answer.split(b" ")[1] in ((b"200",) if good else (b"400", b"501"))
    assert [one[-9:] for one in seen] == ([b"\r\n\r\n12345"] if good else [])


@pytest.mark.usefixtures("clear_and_tls")
async def test_all_fields_that_fit_in_a_head_pass_in_order():
    """Long names and values too."""
    seen = []
    many = b"".join(b"a: %d\r\n" % n for n in range(2000))
    name = b"X-" + b"n" * 5000
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        data = GET[:-2] + many + name + b": " + b"v" * 5000 + b"\r\n" + CLOSE
        assert (await talk(gateway.port, data)).startswith(b"HTTP/1.1 200 ")
    assert fields(seen[0], b"a") == [b"%d" % n for n in range(2000)]
    assert fields(seen[0], name.lower()) == [b"v" * 5000]


async def test_empty_lines_without_end_close_the_connection():
    """A single one is a leftover of the request before."""
    async with (
        upstream(answering(ok())) as server,
        served(auth=server.url, client_idle_timeout=0.3) as gateway,
    ):
        assert error(await talk(gateway.port, b"\r\n" * 1000 + GET)) == (400, "INVALID_REQUEST")
        peer = await connect(gateway.port)
        with trio.fail_after(4), pytest.raises(trio.BrokenResourceError):
            while True:
                await peer.send(b"\r\n")
                await trio.sleep(0.02)


@pytest.mark.usefixtures("clear_and_tls")
async def test_an_early_response_counts_although_the_service_then_closes():
    """The service had not read the whole request."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Much\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await peer.stream.send_eof()
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(b"POST /auth/x HTTP/1.1\r\nHost: g\r\nContent-Length: 100000\r\n\r\nabc")
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n\r\nno")).startswith(b"HTTP/1.1 413 ")
        assert await gateway.counts() == {"success": 1}
