"""One request through the gateway, over real sockets, with an upstream that misbehaves."""

import errno
import re

import pytest
import structlog.testing
import trio
import trio.testing

from tests.gateway.raw_requests import CUT, GET, ask, envelope, post
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream


async def test_a_request_reaches_its_service_as_it_was():
    """Method, target, fields outside ASCII and body arrive unchanged; the gateway says who asks."""
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


async def test_hostile_request_ids_are_replaced():
    """An id with a space, two of them, or one too long: the gateway makes its own."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        for fields in (
            b"X-Request-ID: a b\r\n",
            b"X-Request-ID: " + b"a" * 129 + b"\r\n",
            b"X-Request-ID: a\r\nX-Request-ID: b\r\n",
        ):
            _, head, _ = await ask(gateway.port, GET[:-2] + fields + b"\r\n")
            [given] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"x-request-id: ")]
            assert len(given) == len("x-request-id: ") + 32


async def test_redirects_and_cookies_are_the_clients():
    """A redirect is passed on, and a cookie set for one client isn't sent for another."""
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
async def test_answers_without_a_body(method):
    """204, and a HEAD with a length, end at their head; the connections stay usable."""
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
async def test_connections_that_are_to_close_do(close):
    """Connection: close and HTTP/1.0 clients see the end at once, with proxied answers and own ones."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        for path in (b"/auth/x", b"/nothing", b"/livez", b"/schools"):
            peer = await connect(gateway.port)
            await peer.send(b"GET %b %b\r\n\r\n" % (path, close))
            assert await peer.closed(within=0.5) < 0.5


BROKEN = {
    "no answer": b"",
    "not http": b"hello there\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_garbage_is_502_and_counted(answer):
    """What isn't an answer: 502 SERVICE_UNAVAILABLE, a failure of the breaker."""
    async with upstream(answering(answer, then_close=True)) as server, served(auth=server.url) as gateway:
        status, head, body = await ask(gateway.port)
        assert (status, envelope(body)) == (502, ("SERVICE_UNAVAILABLE", "Target service is unavailable"))
        assert b"content-type: application/json" in head
        assert await gateway.counts() == {"failure": 1}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_cut_body_is_never_a_clean_end(answer, capsys):
    """The client's connection is aborted too, and the breaker counts a failure."""
    async with upstream(answering(answer, then_close=True)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(1):
            got = await peer.rest()
        assert b"abc" in got
        assert not got.endswith(b"0\r\n\r\n")
        assert (b"content-length: 10" in got) == (answer is CUT["short"])
        assert await gateway.counts() == {"failure": 1}
    [line] = [one for one in capsys.readouterr().out.splitlines() if "a response was aborted" in one]
    assert "auth-service-http" in line


async def test_no_connection_in_time_is_502_and_counted():
    """A service that can't be reached in time is no slow one, and the log says why."""

    async def no_handshake(peer: Peer):
        await peer.rest()

    async with upstream(no_handshake) as server:
        url = server.url.replace("http:", "https:")
        async with served(auth=url, upstream_connect_timeout=0.1) as gateway:
            with structlog.testing.capture_logs() as logs:
                status, _, body = await ask(gateway.port)
                await trio.testing.wait_all_tasks_blocked(0.02)  # the line is written behind the answer
            assert (status, envelope(body)[0]) == (502, "SERVICE_UNAVAILABLE")
            assert await gateway.counts() == {"failure": 1}
    [line] = [one for one in logs if one["event"] == "request"]
    assert line["reason"] == f"{url}: no connection within 0.1 s"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_a_shortage_of_the_gateways_own_is_nobodys_fault(monkeypatch, number):
    """Without a file or a port for a connection it is 503, and no failure of the service."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)

        def lacking(*args):
            raise OSError(number, "lacking")

        with monkeypatch.context() as patched:
            patched.setattr(trio.socket, "socket", lacking)
            await peer.send(GET)
            with trio.fail_after(3):
                head = await peer.until(b"\r\n\r\n")
                body = await peer.body(head)
        assert (int(head.split()[1]), envelope(body)[0]) == (503, "GATEWAY_OVERLOADED")
        assert b"\r\nretry-after: 1\r\n" in head
        assert await gateway.counts() == {"ignored": 1}
        _, _, metrics = await ask(gateway.port, b"GET /metrics HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert re.search(rb'^gateway_overloaded_total{resource="\w+"} 1.0$', metrics, re.MULTILINE)


async def test_silence_is_504_and_counted():
    """No head within UPSTREAM_TIMEOUT."""

    async def silent(peer: Peer):
        await peer.rest()

    async with upstream(silent) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        status, _, body = await ask(gateway.port)
        assert (status, envelope(body)[0]) == (504, "GATEWAY_TIMEOUT")
        assert await gateway.counts() == {"failure": 1}


async def test_silence_in_the_middle_breaks_off():
    """No piece within UPSTREAM_IDLE_TIMEOUT: aborted. The service had answered, so that is no failure."""

    async def stalls(peer: Peer):
        await peer.request()
        await peer.send(CUT["short"])
        await peer.rest()

    async with upstream(stalls) as server, served(auth=server.url, upstream_idle_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        assert await peer.closed(within=1) < 0.5
        assert await gateway.counts() == {"success": 1}


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", {"success": 1}),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno", {"failure": 1}),
        (
            b"HTTP/1.1 503 Oh\r\nX-Failure-Origin: auth-database\r\ncontent-length: 2\r\n\r\nno",
            {"ignored": 1},
        ),
        (b"HTTP/1.1 503 Oh\r\nX-Failure-Origin: db\r\ncontent-length: 2\r\n\r\nno", {"failure": 1}),
        (
            b"HTTP/1.1 503 Oh\r\n%bcontent-length: 2\r\n\r\nno"
            % (b"X-Failure-Origin: auth-database\r\n" * 2),
            {"failure": 1},
        ),
        (b"HTTP/1.1 501 Oh\r\ncontent-length: 2\r\n\r\nno", {"success": 1}),
        (b"HTTP/1.1 505 Oh\r\ncontent-length: 2\r\n\r\nno", {"success": 1}),
        (b"HTTP/1.1 429 Oh\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nno", {"success": 1}),
        (b"HTTP/1.1 500 Oh\r\nX-Handler-Failure: 1\r\ncontent-length: 2\r\n\r\nno", {"ignored": 1}),
        (
            b"HTTP/1.1 404 Oh\r\nX-Failure-Origin: auth-database\r\ncontent-length: 2\r\n\r\nno",
            {"success": 1},
        ),
    ],
)
async def test_one_fault_one_breaker(answer, counts):
    """Answers pass as they are; a failure charged elsewhere isn't counted, nor is its origin shown."""
    async with upstream(answering(answer)) as server, served(auth=server.url) as gateway:
        status, head, body = await ask(gateway.port)
        assert (status, body) == (int(answer.split()[1]), b"no")
        assert b"origin" not in head.lower()
        assert (b"retry-after: 7" in head) == (b"retry-after: 7" in answer)
        assert await gateway.counts() == counts


async def test_six_against_a_dead_service():
    """Five times 502, then 503 with Retry-After; the other breakers stay closed."""
    async with served() as gateway:
        answers = [await ask(gateway.port, post(2, b"{}", b"/auth/login")) for _ in range(6)]
        assert [status for status, _, _ in answers] == [502] * 5 + [503]
        assert envelope(answers[5][2]) == (
            "CIRCUIT_BREAKER_OPEN",
            "Service is temporarily unavailable due to circuit breaker",
        )
        assert b"\r\nretry-after: 60\r\n" in answers[5][1].lower()
        assert await gateway.counts() == {"failure": 5, "rejected": 1}
        assert await gateway.counts("school-service-http") == {}


@pytest.mark.parametrize(
    "data",
    [
        b"GET http:///x HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /auth/x#y HTTP/1.1\r\nHost: g\r\n\r\n",
        b"PUT /auth/ HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /auth/x HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    ],
)
async def test_bad_requests(data):
    """400 INVALID_REQUEST, and nothing reaches the upstream."""
    async with upstream(answering(ok())) as server, served(auth=server.url) as gateway:
        status, _, body = await ask(gateway.port, data)
        assert (status, envelope(body)[0]) == (400, "INVALID_REQUEST")
        assert server.connections == 0


async def test_absolute_form():
    """A target that is a URL is taken apart, and its host is the request's."""
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.request())
        await peer.send(ok())

    async with upstream(script) as server, served(auth=server.url) as gateway:
        assert (await ask(gateway.port, b"GET http://named/auth/x?y HTTP/1.1\r\nHost: other\r\n\r\n"))[
            0
        ] == 200
    assert seen[0].startswith(b"GET /x?y HTTP/1.1\r\nhost: named\r\n")


async def test_a_stale_connection_is_nobodys_fault():
    """A GET on a kept connection that had gone is sent again; a POST is answered 502 and not counted."""

    async def close_when_asked_again(peer: Peer):
        await peer.request()
        await peer.send(ok())
        await peer.until(b"\r\n\r\n")

    async with upstream(close_when_asked_again) as server, served(auth=server.url) as gateway:
        assert [(await ask(gateway.port))[0] for _ in range(2)] == [200, 200]
        assert (await ask(gateway.port, post(1, b"x")))[0] == 502
        assert await gateway.counts() == {"success": 2, "ignored": 1}
