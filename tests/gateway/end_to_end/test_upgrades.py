"""Upgrades that the gateway refuses or ignores, and targets and methods that it keeps."""

import re

import pytest
import trio

from tests.gateway.end_to_end.raw_http import GET, error, fields, recording, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import answering, connect, ok, upstream


async def test_an_h2c_upgrade_is_ignored_and_http2_in_clear_text_is_505():
    """The service gets none of the upgrade's fields."""
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
async def test_a_websocket_handshake_is_426_on_every_route(path):
    """The connection serves the next request."""
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


@pytest.mark.usefixtures("clear_and_tls")
@pytest.mark.parametrize("coding", [b"Content-Length: 37", b"Transfer-Encoding: chunked"])
async def test_the_body_behind_an_offered_upgrade_is_no_request(coding):
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


async def test_a_method_in_lower_case_is_501():
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        answer = await talk(gateway.port, b"get /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert error(answer) == (501, "INVALID_REQUEST")
    assert seen == []


async def test_max_forwards_is_lowered_and_0_is_answered_by_the_gateway():
    """For OPTIONS and TRACE alone."""
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


async def test_options_of_the_server_is_204_and_connect_is_400():
    async with served() as gateway:
        answer = await talk(gateway.port, b"OPTIONS * HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
        assert b"content-length" not in answer
        answer = await talk(gateway.port, b"CONNECT g:80 HTTP/1.1\r\nHost: g:80\r\nConnection: close\r\n\r\n")
        assert error(answer) == (400, "INVALID_REQUEST")


async def test_the_gateway_is_appended_to_via():
    """With the version of the request."""
    seen = []
    async with upstream(recording(seen)) as server, served(auth=server.url) as gateway:
        await talk(gateway.port, b"GET /auth/x HTTP/1.0\r\nVia: 1.1 before\r\nVia: 1.0 p\r\n\r\n")
    assert fields(seen[0], b"via") == [b"1.1 before", b"1.0 p", b"1.0 api-gateway"]


FORWARDED = (
    b"GET /auth/x HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.1.1.1\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: school.example\r\nForwarded: for=6.6.6.6\r\n"
    b"X-Real-IP: 6.6.6.6\r\nConnection: close, X-Forwarded-For\r\n\r\n"
)


async def test_forwarded_fields_are_believed_from_a_trusted_proxy_alone():
    """The claims of the proxy's client aren't believed."""
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


async def test_clients_behind_a_trusted_proxy_have_rate_limits_of_their_own():
    limits = {"rate_limit_per_minute": 1, "trusted_proxies": "127.0.0.1"}
    async with upstream(answering(ok())) as server, served(auth=server.url, **limits) as gateway:
        statuses = []
        for address in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
            data = b"GET /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\nX-Forwarded-For: %b\r\n\r\n"
            statuses.append((await talk(gateway.port, data % address)).split()[1])
    assert statuses == [b"200", b"200", b"429"]
