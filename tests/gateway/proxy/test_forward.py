"""A request and its response pass through the gateway unchanged, over real sockets."""

import pytest
import trio
import trio.testing

from tests.gateway.raw_requests import GET, ask, envelope
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream


async def test_a_request_reaches_its_service_as_it_was():
    """Method, target, fields outside ASCII and body arrive unchanged; the gateway adds the client."""
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.request())
        await peer.send(
            ok(
                b"\x1f\x8bzip",
                b"content-encoding: gzip",
                b"set-cookie: a=\xe9",
                b"set-cookie: b",
                b"date: then",
            )
        )

    data = (
        b"PUT /auth/%2F+a?q=%20&&e= HTTP/1.1\r\nHost: gateway:8080\r\nCookie: \xe9\xff\r\n"
        b"X-Failure-Origin: me\r\n"
        b"X-Request-ID: my-id\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\n\x00\xff\n"
    )
    async with upstream(script) as server, served(auth=server.url) as gateway:
        status, head, body = await ask(gateway.port, data)
    lines = seen[0].partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert lines[0] == b"put /%2f+a?q=%20&&e= http/1.1"
    assert sorted(lines[1:]) == [
        b"content-length: 3",
        b"cookie: \xe9\xff",
        b'forwarded: for=127.0.0.1;host="gateway:8080";proto=http',
        b"host: gateway:8080",
        b"via: 1.1 api-gateway",
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-host: gateway:8080",
        b"x-forwarded-prefix: /auth",
        b"x-forwarded-proto: http",
        b"x-request-id: my-id",
        b"x-request-timeout-ms: 9500",
    ]
    assert seen[0].endswith(b"\r\n\r\n\x00\xff\n")
    assert (status, body) == (200, b"\x1f\x8bzip")
    assert head.lower().split(b"\r\n")[1:-2] == [
        b"content-length: 5",
        b"content-encoding: gzip",
        b"set-cookie: a=\xe9",
        b"set-cookie: b",
        b"date: then",
        b"x-request-id: my-id",
    ]


async def test_an_invalid_request_id_is_replaced():
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        for fields in (
            b"X-Request-ID: a b\r\n",
            b"X-Request-ID: " + b"a" * 129 + b"\r\n",
            b"X-Request-ID: a\r\nX-Request-ID: b\r\n",
        ):
            _, head, _ = await ask(gateway.port, GET[:-2] + fields + b"\r\n")
            [given] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"x-request-id: ")]
            assert len(given) == len("x-request-id: ") + 32


async def test_a_redirect_is_passed_on_and_no_cookie_is_kept():
    seen = []

    async def script(peer: Peer):
        while True:
            seen.append(await peer.request())
            await peer.send(
                b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
            )

    async with upstream(script) as server, served(auth=server.url) as gateway:
        assert [(await ask(gateway.port))[0] for _ in range(2)] == [302, 302]
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


@pytest.mark.parametrize("method", [b"HEAD", b"GET", b"OPTIONS", b"DELETE"])
async def test_a_response_without_a_body_ends_at_its_head(method):
    """204 and HEAD. The connections stay usable."""
    no_body = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"
        if method == b"HEAD"
        else b"HTTP/1.1 204 No Content\r\n\r\n"
    )
    async with upstream(answering(no_body)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        for _ in range(2):
            with trio.fail_after(1):
                await peer.send(GET.replace(b"GET", method))
                head = await peer.until(b"\r\n\r\n")
            assert (b"content-length: 7" in head) == (method == b"HEAD")
        assert server.connections == 1


@pytest.mark.parametrize("close", [b"HTTP/1.1\r\nHost: g\r\nConnection: close", b"HTTP/1.0"])
async def test_connection_close_and_http_1_0_close_after_the_response(close):
    """Proxied responses, and the gateway's own."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        for path in (b"/auth/x", b"/nothing", b"/livez", b"/schools"):
            peer = await connect(gateway.port)
            await peer.send(b"GET %b %b\r\n\r\n" % (path, close))
            assert await peer.closed(within=0.5) < 0.5


@pytest.mark.parametrize(
    "data",
    [
        b"GET http:///x HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /auth/x#y HTTP/1.1\r\nHost: g\r\n\r\n",
        b"PUT /auth/ HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /auth/x HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    ],
)
async def test_an_invalid_request_is_400_and_reaches_no_service(data):
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        status, _, body = await ask(gateway.port, data)
        assert (status, envelope(body)[0]) == (400, "INVALID_REQUEST")
        assert server.connections == 0


async def test_the_host_of_an_absolute_target_is_the_requests_host():
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.request())
        await peer.send(ok())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        assert (await ask(gateway.port, b"GET http://named/auth/x?y HTTP/1.1\r\nHost: other\r\n\r\n"))[
            0
        ] == 200
    assert seen[0].startswith(b"GET /x?y HTTP/1.1\r\nhost: named\r\n")
