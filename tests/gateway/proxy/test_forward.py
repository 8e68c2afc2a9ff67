"""One request through the gateway, over real sockets, with an upstream that misbehaves."""

import errno
import json
import re
from contextlib import asynccontextmanager

import pytest
import structlog.testing
import trio
import trio.testing

from actors.messages import State
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, Watch, answering, connect, ok, upstream

GET = b"GET /auth/x HTTP/1.1\r\nHost: gateway\r\n\r\n"


def post(length, body=b"", path=b"/auth/x"):
    return b"POST %b HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%b" % (path, length, body)


async def ask(port, data=GET):
    """Status, head and body of the answer to these bytes, on a connection of their own."""
    peer = await connect(port)
    with trio.fail_after(3):
        await peer.send(data)
        head = await peer.until(b"\r\n\r\n")
        body = await peer.body(head)
    await peer.stream.aclose()
    return int(head.split()[1]), head, body


def envelope(body):
    found = json.loads(body)
    return found["error"], found["message"]


async def settled(gateway, name="auth-service-http", within=1.0):
    """The counts, when nothing is in flight any more."""
    with trio.fail_after(within):
        while (await gateway.snapshot(name)).in_flight:  # noqa: ASYNC110 - no event says so
            await trio.sleep(0.005)
    return await gateway.counts(name)


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


CUT = {
    "short": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_cut_body_is_never_a_clean_end(answer, capsys):
    """The client's connection is broken off too, and the breaker counts a failure."""
    async with upstream(answering(answer, then_close=True)) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        with trio.fail_after(1):
            got = await peer.rest()
        assert b"abc" in got
        assert not got.endswith(b"0\r\n\r\n")
        assert (b"content-length: 10" in got) == (answer is CUT["short"])
        assert await gateway.counts() == {"failure": 1}
    [line] = [one for one in capsys.readouterr().out.splitlines() if "the answer was broken off" in one]
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
    """No piece within UPSTREAM_IDLE_TIMEOUT: broken off. The service had answered, so that is no failure."""

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


async def silent_then_gone(peer: Peer, gone: trio.Event, begin=b""):
    await peer.request()
    await peer.send(begin)
    await peer.rest()
    gone.set()


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    ],
    ids=["before the head", "idle event stream", "in the body"],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_leaves(begin, reset):
    """The upstream request ends within 100 ms, and counts as cancelled."""
    gone = trio.Event()
    async with (
        upstream(lambda peer: silent_then_gone(peer, gone, begin)) as server,
        served(auth=server.url) as gateway,
    ):
        peer = await connect(gateway.port)
        await peer.send(GET)
        if begin:
            await peer.until(b"\r\n\r\n")
        await trio.sleep(0.05)
        watch = Watch()
        if reset:
            peer.reset()
        else:
            await peer.stream.aclose()
        with trio.fail_after(2):
            await gone.wait()
        assert watch.seconds < 0.1
        assert await settled(gateway) == {"cancelled": 1}
        assert "0 idle, 0 in use" in repr(gateway.transports["auth"])


async def test_a_client_that_leaves_while_it_uploads():
    """It is no failure of the upstream that half a body came."""
    gone = trio.Event()

    async def script(peer: Peer):
        await peer.until(b"half")
        await peer.rest()
        gone.set()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(100, b"half"))
        await trio.sleep(0.05)
        watch = Watch()
        await peer.stream.aclose()
        with trio.fail_after(2):
            await gone.wait()
        assert watch.seconds < 0.1
        assert await settled(gateway) == {"cancelled": 1}


async def test_streaming_both_ways():
    """The upstream has the first chunk before the client sends its last; an event arrives at once."""
    first, event = trio.Event(), trio.Event()

    async def script(peer: Peer):
        await peer.until(b"one")
        first.set()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n")
        await event.wait()
        await peer.until(b"0\r\n\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.rest()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        with trio.fail_after(2):
            await peer.send(
                b"POST /auth/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
            )
            await first.wait()
            await peer.until(b"event")
            event.set()
            await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")
            assert (await peer.until(b"0\r\n\r\n")).endswith(b"\r\n0\r\n\r\n")
        assert await settled(gateway) == {"success": 1}


async def test_an_early_answer_while_the_client_uploads():
    """A 4xx reaches a client that is still sending, and never stops; the breaker counts a success."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url) as gateway, trio.open_nursery() as nursery:
        peer = await connect(gateway.port)
        await peer.send(post(5_000_000))

        async def upload():
            try:
                while True:
                    await peer.stream.send_all(b"x" * 50_000)
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(upload)
        with trio.fail_after(2):
            head = await peer.until(b"\r\n\r\n")
            assert await peer.body(head) == b"no"
        assert head.startswith(b"HTTP/1.1 403 ")
        nursery.cancel_scope.cancel()
        assert await gateway.counts() == {"success": 1}


async def test_an_early_answer_lets_the_client_finish():
    """A client that has seen the answer may end its upload, and use the connection for its next request."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        for size in (2_000_000, 3):
            with trio.fail_after(2):
                await peer.send(post(size))
                assert (await peer.until(b"no")).startswith(b"HTTP/1.1 403 ")
                await peer.send(b"x" * size)


async def test_an_upload_waits_for_the_upstream():
    """A stalled upstream stalls the client: what is held between them is bounded."""

    async def script(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await trio.sleep_forever()

    async with upstream(script) as server, served(auth=server.url, max_body_bytes=10**9) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(10**9))
        sent = 0
        with trio.move_on_after(1):
            while True:
                await peer.stream.send_all(b"x" * 65536)
                sent += 65536
        assert sent < 30_000_000  # the kernel's buffers, mostly


async def test_a_slow_client_is_not_the_upstreams_fault():
    """While the gateway waits for the client's body, UPSTREAM_TIMEOUT stands still."""
    async with upstream(answering(ok())) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        await peer.send(post(4, b"ab"))
        await trio.sleep(0.3)
        await peer.send(b"cd")
        with trio.fail_after(1):
            assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_long_stream_counts_once_at_its_end():
    """However long it streams, it is in flight; if it breaks off, it is one failure."""
    cut = trio.Event()

    async def script(peer: Peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n")
        await cut.wait()

    async with upstream(script) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        peer = await connect(gateway.port)
        await peer.send(GET)
        await peer.until(b"event")
        await trio.sleep(0.3)
        assert await gateway.counts() == {}
        assert (await gateway.snapshot()).in_flight == 1
        cut.set()
        await peer.closed(within=1)
        assert await settled(gateway) == {"failure": 1}
        assert (await gateway.snapshot()).failure_count == 1


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n"]
)
async def test_too_large(framing):
    """413, announced or found out; nothing is counted against the upstream."""

    async def patient(peer: Peer):
        await peer.rest()

    async with upstream(patient) as server, served(auth=server.url, max_body_bytes=1000) as gateway:
        data = b"POST /auth/x HTTP/1.1\r\nHost: g\r\n" + framing + b"x" * 2000
        status, _, body = await ask(gateway.port, data)
        assert (status, envelope(body)[0]) == (413, "PAYLOAD_TOO_LARGE")
        assert set(await settled(gateway)) <= {"cancelled"}
        assert (await ask(gateway.port, GET.replace(b"/auth", b"")))[0] == 404


async def test_too_large_is_said_at_once():
    """What announces too much is answered before any of it comes, and the service hears nothing of it."""
    async with upstream(answering(ok())) as server, served(auth=server.url, max_body_bytes=1000) as gateway:
        for expect in (b"", b"Expect: 100-continue\r\n"):
            peer = await connect(gateway.port)
            with trio.fail_after(1):
                await peer.send(post(1001)[:-2] + expect + b"\r\n")
                assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
            await peer.stream.aclose()
        assert server.connections == 0


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


def requests_at_work():
    """How many tasks belong to requests."""
    waiting, found = [trio.lowlevel.current_root_task()], 0
    while waiting:
        task = waiting.pop()
        found += task.name.startswith("gateway.") or task.name.endswith("RequestStream._run")
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_nothing_is_left_behind():
    """After a crowd that finishes, is cut off and hangs up: no call, connection or task remains."""

    async def script(peer: Peer):
        while True:
            line, _, _ = (await peer.request()).partition(b" HTTP")
            await peer.send(ok() if line.endswith(b"ok") else CUT["short"])
            if line.endswith(b"cut"):
                return

    async def visit(port, n):
        path, end = ((b"ok", b"\r\n\r\nok"), (b"cut", b"abc"), (b"stall", b"abc"))[n % 3]
        peer = await connect(port)
        await peer.send(post(4, b"body", b"/auth/" + path) if n % 2 else GET.replace(b"x", path))
        await peer.until(end)
        if path == b"cut":
            await peer.rest()
        if path == b"stall":
            assert requests_at_work() > 0
        if n % 4:
            peer.reset()
        await peer.stream.aclose()

    policy = {"max_failures": 1000}
    async with upstream(script) as server, served(auth=server.url, policy=policy) as gateway:
        async with trio.open_nursery() as nursery:
            for n in range(120):
                nursery.start_soon(visit, gateway.port, n)
        with trio.fail_after(5):
            while requests_at_work():  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.005)
            assert (await gateway.snapshot()).in_flight == 0
            assert "0 in use" in repr(gateway.transports["auth"])
        assert await gateway.counts() == {"success": 40, "failure": 40, "cancelled": 40}


@asynccontextmanager
async def found_again(**policy: float):
    """A gateway whose service was away, and answers again when its breaker is about to probe."""
    down = True

    async def script(peer: Peer):
        await peer.request()
        if not down:
            await peer.send(ok())

    policy = {"max_failures": 1, "reset_timeout": 0.05, **policy}
    async with upstream(script) as server, served(auth=server.url, policy=policy) as gateway:
        assert (await ask(gateway.port))[0] == 502
        down = False
        await trio.sleep(0.1)
        yield gateway


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_slow_client_is_no_probe(expect):
    """It would hold the one probe until that has failed; who has sent all is let through meanwhile."""
    async with found_again(half_open_timeout=0.5) as gateway:
        slow = await connect(gateway.port)
        await slow.send(post(10)[:-2] + expect + b"\r\nab")
        await trio.sleep(0.05)
        assert (await gateway.snapshot()).in_flight == 0
        assert (await ask(gateway.port, post(2, b"ab")))[0] == 200
        assert (await gateway.snapshot()).state is State.CLOSED
        await slow.send(b"cdefghij")
        with trio.fail_after(2):
            assert (await slow.until(b"\r\n\r\nok")).endswith(b"ok")


async def test_a_slow_client_is_told_to_come_back():
    """While the breaker is half-open, a body has a second to come in; then it is as any other rejection."""
    policy = {"max_failures": 1, "reset_timeout": 0.05}
    async with served(policy=policy) as gateway:
        assert (await ask(gateway.port))[0] == 502
        await trio.sleep(0.1)
        status, head, body = await ask(gateway.port, post(10, b"ab"))
        assert (status, envelope(body)[0]) == (503, "CIRCUIT_BREAKER_OPEN")
        assert b"\r\nretry-after: 1\r\n" in head.lower()
        assert await gateway.counts() == {"failure": 1}


async def test_a_big_upload_may_probe():
    """More than is read ahead isn't slow: a service that gets nothing else must be found again."""
    async with found_again() as gateway:
        assert (await ask(gateway.port, post(2_000_000, bytes(2_000_000))))[0] == 200
        assert (await gateway.snapshot()).state is State.CLOSED


async def test_a_probe_whose_client_stalls_is_nobodys_fault():
    """It sent enough to be let through, and then trickles: the probe goes back, and the next has its turn."""
    async with found_again(half_open_timeout=2.0) as gateway:
        slow = await connect(gateway.port)
        await slow.send(post(2_000_000, bytes(1_000_000)))
        with trio.fail_after(1.5):
            while b"\r\n\r\n" not in slow.buffer:
                await slow.send(b"x")
                with trio.move_on_after(0.1):
                    slow.buffer += await slow.stream.receive_some()
        assert slow.buffer.startswith(b"HTTP/1.1 503 ")
        assert await gateway.counts() == {"failure": 1, "ignored": 1}
        assert (await gateway.snapshot()).state is State.HALF_OPEN
        assert (await ask(gateway.port))[0] == 200


async def test_twenty_at_half_open():
    """Of twenty at once, exactly one reaches the service; the others are told to come back."""
    reached = []
    down = True

    async def script(peer: Peer):
        await peer.request()
        reached.append(down)
        await trio.sleep(0.1)
        if not down:
            await peer.send(ok())

    async with (
        upstream(script) as server,
        served(auth=server.url, policy={"max_failures": 1, "reset_timeout": 0.2}) as gateway,
    ):
        assert (await ask(gateway.port))[0] == 502
        down = False
        await trio.sleep(0.3)
        answers = []

        async def one():
            answers.append(await ask(gateway.port))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert sorted(status for status, _, _ in answers) == [200] + [503] * 19
        assert all(b"\r\nretry-after: 1\r\n" in head.lower() for status, head, _ in answers if status == 503)
        assert reached == [True, False]
        assert (await ask(gateway.port))[0] == 200
