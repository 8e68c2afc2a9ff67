"""The response to a client whose service fails, and the failures that the breaker counts."""

import errno
import re

import pytest
import structlog.testing
import trio
import trio.testing

from tests.gateway.raw_requests import CUT, GET, ask, envelope, post
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream

BROKEN = {
    "no answer": b"",
    "not http": b"hello there\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_an_invalid_response_is_502_and_a_failure(answer):
    async with upstream(answering(answer, then_close=True)) as server, served(auth=server.url) as gateway:
        status, head, body = await ask(gateway.port)
        assert (status, envelope(body)) == (502, ("SERVICE_UNAVAILABLE", "Target service is unavailable"))
        assert b"content-type: application/json" in head
        assert await gateway.counts() == {"failure": 1}


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_truncated_body_has_no_clean_end_and_is_a_failure(answer, capsys):
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


async def test_no_connection_in_time_is_502_and_a_failure():
    """The log has the reason."""

    async def no_handshake(peer: Peer):
        await peer.rest()

    async with upstream(no_handshake) as server:
        url = server.url.replace("http:", "https:")
        async with served(auth=url, upstream_connect_timeout=0.1) as gateway:
            with structlog.testing.capture_logs() as logs:
                status, _, body = await ask(gateway.port)
                await trio.testing.wait_all_tasks_blocked(0.02)  # the line is written after the response
            assert (status, envelope(body)[0]) == (502, "SERVICE_UNAVAILABLE")
            assert await gateway.counts() == {"failure": 1}
    [line] = [one for one in logs if one["event"] == "request"]
    assert line["reason"] == f"{url}: no connection within 0.1 s"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
async def test_a_lack_of_files_or_ports_is_503_and_no_failure(monkeypatch, number):
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


async def test_no_head_within_upstream_timeout_is_504_and_a_failure():
    async def silent(peer: Peer):
        await peer.rest()

    async with upstream(silent) as server, served(auth=server.url, upstream_timeout=0.1) as gateway:
        status, _, body = await ask(gateway.port)
        assert (status, envelope(body)[0]) == (504, "GATEWAY_TIMEOUT")
        assert await gateway.counts() == {"failure": 1}


async def test_a_pause_above_upstream_idle_timeout_cuts_the_body_and_is_a_success():
    """The service had answered."""

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
async def test_a_failure_that_another_breaker_has_counted_is_not_counted_again(answer, counts):
    """The response is forwarded without the field that names the origin."""
    async with upstream(answering(answer)) as server, served(auth=server.url) as gateway:
        status, head, body = await ask(gateway.port)
        assert (status, body) == (int(answer.split()[1]), b"no")
        assert b"origin" not in head.lower()
        assert (b"retry-after: 7" in head) == (b"retry-after: 7" in answer)
        assert await gateway.counts() == counts


async def test_five_502_open_the_breaker_and_the_sixth_request_is_503():
    """The other breakers stay closed."""
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


async def test_a_stale_connection_is_no_failure():
    """GET is sent again. POST is answered 502."""

    async def close_at_second_request(peer: Peer):
        await peer.request()
        await peer.send(ok())
        await peer.until(b"\r\n\r\n")

    async with upstream(close_at_second_request) as server, served(auth=server.url) as gateway:
        assert [(await ask(gateway.port))[0] for _ in range(2)] == [200, 200]
        assert (await ask(gateway.port, post(1, b"x")))[0] == 502
        assert await gateway.counts() == {"success": 2, "ignored": 1}
