"""A breaker for each host, over a real transport and a server that speaks bytes."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from time import time
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallTimeout, CircuitBreakerConfig, CircuitOpenError, Panel, Snapshot, State, open_panel
from actors.adapters.httpx import BreakerTransport, host_key, host_policy, is_failure, retry_after
from actors.testing import advance

Answer = Callable[[trio.abc.Stream], Awaitable[None]]
HEAD = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n"
REQUEST = httpx.Request("GET", "http://x")


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (httpx.ConnectError("x"), True),
        (because(httpx.ConnectError("x"), OSError(errno.ECONNREFUSED, "refused")), True),
        (because(httpx.ConnectError("x"), OSError(errno.EADDRNOTAVAIL, "no ports")), False),
        (because(httpx.ConnectError("x"), ExceptionGroup("all", [OSError(errno.EMFILE, "files")])), False),
        (httpx.ReadTimeout("x"), True),
        (httpx.RemoteProtocolError("x"), True),
        (httpx.UnsupportedProtocol("x"), False),
        (httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(500)), True),
        (httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(499)), False),
        (ValueError("x"), False),
    ],
)
def test_what_fails_over_http(error: Exception, failed: bool) -> None:
    assert is_failure(error) is failed


class Pieces(httpx.AsyncByteStream):
    """A body in pieces: bytes are read, numbers waited, exceptions raised."""

    def __init__(self, *pieces: bytes | float | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            elif isinstance(piece, Exception):
                raise piece
            else:
                await trio.sleep(piece)

    async def aclose(self) -> None:
        self.closed = True


class Scripted(httpx.AsyncBaseTransport):
    """Answers each request with the next of `answers`."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked = self.open = 0

    async def __aenter__(self) -> Scripted:
        self.open += 1
        return self

    async def aclose(self) -> None:
        self.open -= 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def body(*pieces: bytes | float | Exception, status: int = 200) -> httpx.Response:
    return httpx.Response(status, stream=Pieces(*pieces))


def client(
    panel: Panel, *answers: httpx.Response | Exception, **policy: object
) -> tuple[httpx.AsyncClient, Scripted]:
    inner = Scripted(*answers)
    transport = BreakerTransport(
        inner, panel, config_for=lambda host: replace(host_policy(host), max_failures=2, **policy)
    )
    return httpx.AsyncClient(transport=transport, base_url="http://it"), inner


async def seen(panel: Panel, name: str = "it") -> Snapshot:
    return await panel[name].snapshot()


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[str]:
    """A server that answers the first request of each connection with these bytes, and closes it."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_real_answer_comes_through_and_counts_when_its_body_has_ended(panel: Panel) -> None:
    transport = BreakerTransport(httpx.AsyncHTTPTransport(), panel)
    answer = HEAD % (200, 5, b"X-Twice: 1\r\nX-Twice: 2\r\n") + b"hello"
    async with serving(answer) as url, httpx.AsyncClient(transport=transport) as asked:
        async with asked.stream("GET", url) as response:
            name = transport.breaker(response.url).name
            assert (await seen(panel, name)).in_flight == 1
            assert await response.aread() == b"hello"
            assert response.headers.get_list("x-twice") == ["1", "2"]
            assert response.http_version == "HTTP/1.1"
        counted = await seen(panel, name)
    assert (counted.counts["success"], counted.in_flight) == (1, 0)


async def test_a_real_body_cut_off_in_the_middle_is_a_failure(panel: Panel) -> None:
    transport = BreakerTransport(httpx.AsyncHTTPTransport(), panel)
    answer = HEAD % (200, 9, b"") + b"hello"
    async with serving(answer) as url, httpx.AsyncClient(transport=transport) as asked:
        with pytest.raises(httpx.RemoteProtocolError):
            await asked.get(url)
    (breaker,) = panel
    assert (await breaker.snapshot()).counts["failure"] == 1


async def test_a_dead_host_is_rejected_and_another_is_not(panel: Panel) -> None:
    asked, inner = client(panel, httpx.ConnectError("a"), httpx.ConnectError("b"), body(b"well"))
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            await asked.get("/")
    with pytest.raises(CircuitOpenError) as rejected:
        await asked.get("/")
    assert (rejected.value.name, inner.asked) == ("it", 2)
    assert (await asked.get("http://other:81/")).text == "well"
    assert sorted(breaker.name for breaker in panel) == ["it", "other:81"]


async def test_a_server_error_is_returned_and_counts(panel: Panel) -> None:
    asked, _ = client(panel, body(b"sorry", status=500), body(b"no", status=404))
    response = await asked.get("/")
    assert (response.status_code, response.text) == (500, "sorry")
    assert (await seen(panel)).failure_count == 1
    assert (await asked.get("/")).status_code == 404
    assert (await seen(panel)).failure_count == 0


async def test_a_response_made_with_its_content_is_read_and_settles(panel: Panel) -> None:
    asked, _ = client(panel, httpx.Response(200, text="whole"))
    assert (await asked.get("/")).text == "whole"
    assert (await seen(panel)).counts["success"] == 1


@pytest.mark.parametrize(("status", "outcome"), [(200, "success"), (503, "failure")])
async def test_a_response_closed_early_counts_as_its_head_said(
    panel: Panel, status: int, outcome: str
) -> None:
    answer = body(b"one", b"two", status=status)
    asked, _ = client(panel, answer)
    async with asked.stream("GET", "/") as response:
        assert await anext(response.aiter_raw()) == b"one"
    assert (await seen(panel)).counts[outcome] == 1
    assert isinstance(answer.stream, Pieces)
    assert answer.stream.closed


@pytest.mark.parametrize("between_pieces", [False, True])
async def test_a_reader_that_is_cancelled_counts_neither_way(
    panel: Panel, mock_clock: MockClock, between_pieces: bool
) -> None:
    answer = body(b"one", 9.0, b"two")
    asked, _ = client(panel, answer)
    mock_clock.autojump_threshold = 0
    with trio.move_on_after(1):
        async with asked.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                if between_pieces:
                    await trio.sleep(9)
    counts = (await seen(panel)).counts
    assert (counts["cancelled"], counts["success"], counts["failure"]) == (1, 0, 0)
    assert isinstance(answer.stream, Pieces)
    assert answer.stream.closed


async def test_waiting_for_a_head_can_be_cancelled(panel: Panel) -> None:
    asked, _ = client(panel, body(b"never read"))
    with trio.move_on_after(0):
        await asked.get("/")
    assert (await seen(panel)).counts["cancelled"] == 1


async def test_a_probe_is_over_when_its_body_is(panel: Panel, mock_clock: MockClock) -> None:
    asked, _ = client(panel, body(b"one", b"two"), body(b"three"))
    breaker = panel.breaker(replace(host_policy("it"), max_failures=2))
    await breaker.trip()
    await advance(mock_clock, 60)
    async with asked.stream("GET", "/") as response:
        with pytest.raises(CircuitOpenError):
            await asked.get("/")
        await response.aread()
        assert breaker.state is State.CLOSED
    assert (await asked.get("/")).text == "three"


async def test_a_probe_that_streams_a_second_after_its_head_has_passed(
    panel: Panel, mock_clock: MockClock
) -> None:
    """However long it streams, and though `half_open_timeout` is less."""
    asked, _ = client(panel, body(b"tick", 50.0))
    breaker = panel.breaker(replace(host_policy("it"), max_failures=2, half_open_timeout=10))
    await breaker.trip()
    await advance(mock_clock, 60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.get, "/")
        await wait_all_tasks_blocked()
        await advance(mock_clock, 0.5)
        assert breaker.state is State.HALF_OPEN
        await advance(mock_clock, 0.5)
        assert breaker.state is State.CLOSED
        await advance(mock_clock, 28)
        assert (await breaker.snapshot()).counts["success"] == 0
        await advance(mock_clock, 1)
        assert (await breaker.snapshot()).counts["success"] == 1
        await advance(mock_clock, 20)
    assert (await breaker.snapshot()).counts["success"] == 1
    assert (await breaker.snapshot()).counts["failure"] == 0


async def test_what_breaks_off_after_its_success_is_a_failure_more(
    panel: Panel, mock_clock: MockClock
) -> None:
    mock_clock.autojump_threshold = 0
    asked, _ = client(panel, body(b"tick", 40.0, httpx.ReadError("broke off")), body(b"", 20.0))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    counted = await seen(panel)
    assert (counted.counts["success"], counted.counts["failure"], counted.failure_count) == (1, 1, 1)
    await asked.get("/")
    assert (await seen(panel)).counts["success"] == 2
    await trio.sleep(30)
    assert (await seen(panel)).counts["success"] == 2
    assert [task.name for task in panel.nursery.child_tasks] == ["it"]


async def test_long_streams_are_watched_after_a_pause_too(panel: Panel, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    asked, _ = client(panel, body(b"one"), body(b"two", 40.0, httpx.ReadError("broke off")))
    await asked.get("/")
    await trio.sleep(60)
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    assert (await seen(panel)).counts["success"] == 2


async def test_a_request_outlives_the_panel(mock_clock: MockClock) -> None:
    class Slow(Scripted):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep(5)
            return await super().handle_async_request(request)

    got: list[str] = []

    async def ask(asked: httpx.AsyncClient) -> None:
        got.append((await asked.get("http://it/")).text)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            asked = httpx.AsyncClient(transport=BreakerTransport(Slow(body(b"late")), panel))
            nursery.start_soon(ask, asked)
            await wait_all_tasks_blocked()
        mock_clock.jump(5)
    assert got == ["late"]


async def test_a_call_timeout_covers_the_body_too(panel: Panel, mock_clock: MockClock) -> None:
    mock_clock.autojump_threshold = 0
    slow, quick = body(b"one", 9.0, b"two"), body(b"one", 1.0, b"two")
    asked, _ = client(panel, slow, quick, call_timeout=5.0)
    with pytest.raises(CallTimeout):
        await asked.get("/")
    assert (await seen(panel)).counts["failure"] == 1
    assert isinstance(slow.stream, Pieces)
    assert slow.stream.closed
    with trio.move_on_after(3):
        async with asked.stream("GET", "/") as response:
            assert (await seen(panel)).counts["success"] == 1
            assert await response.aread() == b"onetwo"


async def test_the_servers_own_wait_is_kept(panel: Panel) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "97"})
    asked, _ = client(panel, httpx.ConnectError("x"), busy)
    with pytest.raises(httpx.ConnectError):
        await asked.get("/")
    await asked.get("/")
    wait = panel["it"].retry_after
    assert wait is not None
    assert 96 < wait <= 97


DATE = "Sun, 06 Nov 1994 08:49:%02d GMT"


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (503, {"Retry-After": "120"}, 120),
        (429, {"Retry-After": "1"}, 1),
        (500, {"Retry-After": "120"}, None),
        (503, {}, None),
        (503, {"Retry-After": "soon"}, None),
        (503, {"Retry-After": "-1"}, None),
        (503, {"Retry-After": DATE % 47, "Date": DATE % 37}, 10),
        (503, {"Retry-After": DATE % 37, "Date": DATE % 37}, None),
        (503, {"Retry-After": DATE % 37, "Date": DATE % 47}, None),
        (503, {"Retry-After": DATE % 37}, None),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, None),
        (503, {"Retry-After": "Sun, 06 Nov 99999999999 08:49:00 GMT"}, None),
        (503, {"Retry-After": "31536000"}, 31_536_000),
        (503, {"Retry-After": "31536001"}, None),
        (503, {"Retry-After": "9" * 500}, None),
        (503, {"Retry-After": "0"}, None),
        (503, {"Retry-After": "1.5"}, None),
        (503, {"Retry-After": "inf"}, None),
        (503, [(b"Retry-After", b"\xb2")], None),
    ],
)
def test_the_wait_that_a_response_asks_for(
    status: int, headers: dict[str, str] | list[tuple[bytes, bytes]], wait: float | None
) -> None:
    response = httpx.Response(status, headers=headers)
    error = httpx.HTTPStatusError("x", request=httpx.Request("GET", "http://x"), response=response)
    assert retry_after(response) == retry_after(error) == wait


def test_a_date_without_a_date_is_measured_from_now() -> None:
    soon = formatdate(time() + 100, usegmt=True)
    wait = retry_after(httpx.Response(503, headers={"Retry-After": soon}))
    assert wait is not None
    assert 90 < wait <= 100
    assert retry_after(ValueError()) is None


async def test_no_request_is_sent_after_the_panels_end() -> None:
    async with open_panel() as panel:
        asked, inner = client(panel, body(b"x"), body(b"y"))
        await asked.get("/")
        response = await asked.send(asked.build_request("GET", "/"), stream=True)
    assert await response.aread() == b"y"
    with pytest.raises(Exception, match="closed"):
        await asked.get("/")
    assert inner.asked == 2


async def test_what_is_inside_is_opened_and_closed_with_the_client(panel: Panel) -> None:
    asked, inner = client(panel)
    async with asked:
        assert inner.open == 1
    assert inner.open == 0
    await asked._transport.aclose()
    assert inner.open == -1


async def test_a_bad_setting_is_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match="succeeds_after"):
        BreakerTransport(Scripted(), panel, succeeds_after=0)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://example.org/", "example.org"),
        ("http://EXAMPLE.org/", "example.org"),
        ("http://example.org./", "example.org"),
        ("http://example.org.:81/", "example.org:81"),
        ("http://example.org:80/", "example.org"),
        ("https://example.org:443/", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://BÜCHER。example/", "xn--bcher-kva.example"),
        ("http://www.bücher.example/", "www.xn--bcher-kva.example"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://[::1:8080]/", "[::1:8080]"),
        ("http://[0:0:0::0001]/", "[::1]"),
        ("http://[2001:DB8::A]/", "[2001:db8::a]"),
        ("http://[FE80::1%eth0]:81/", "[fe80::1%eth0]:81"),
        ("http://[fe80::1%ETH0]/", "[fe80::1%ETH0]"),
        ("http://[fe80::1%25eth0]/", "[fe80::1%25eth0]"),
    ],
)
def test_a_host_has_one_key_and_no_other_host_has_it(url: str, key: str) -> None:
    assert host_key(httpx.Request("GET", url)) == key


def test_an_ipv4_address_within_ipv6_has_one_key() -> None:
    """Python versions differ in how they write it, so only the keys of two spellings are compared."""
    mixed, hexadecimal = (
        httpx.Request("GET", f"http://[{one}]/") for one in ("::FFFF:1.2.3.4", "::ffff:102:304")
    )
    assert host_key(mixed) == host_key(hexadecimal)


@pytest.mark.parametrize("url", ["/relative", "http:///path", "http://./"])
async def test_a_url_without_a_host_has_no_breaker(panel: Panel, url: str) -> None:
    inner = Scripted()
    with pytest.raises(ValueError, match="host of the URL"):
        await BreakerTransport(inner, panel).handle_async_request(httpx.Request("GET", url))
    assert (inner.asked, len(panel)) == (0, 0)


async def test_an_address_with_a_port_has_a_breaker_of_its_own(panel: Panel) -> None:
    """The address `::1:8080` has the same characters as the address `::1` with port 8080."""
    asked, inner = client(panel, httpx.ConnectError("a"), httpx.ConnectError("b"), body(b"well"))
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            await asked.get("http://[::1]:8080/")
    assert (await asked.get("http://[::1:8080]/")).text == "well"
    assert [breaker.name for breaker in panel] == ["[::1]:8080", "[::1:8080]"]
    assert inner.asked == 3


def by_area(request: httpx.Request) -> str:
    return f"{host_key(request)}{'/search' if request.url.path.startswith('/search') else ''}"


async def test_a_key_decides_which_requests_share_a_breaker(panel: Panel) -> None:
    asked_for: list[str] = []

    def config_for(key: str) -> CircuitBreakerConfig:
        asked_for.append(key)
        return replace(host_policy(key), max_failures=1)

    inner = Scripted(body(status=500), body(b"found"), body(b"well"))
    transport = BreakerTransport(inner, panel, key=by_area, config_for=config_for)
    asked = httpx.AsyncClient(transport=transport, base_url="http://it")
    await asked.get("/search/1")
    with pytest.raises(CircuitOpenError) as rejected:
        await asked.get("/search/2")
    assert rejected.value.name == "it/search"
    assert (await asked.get("/other")).text == "found"
    assert (await asked.get("/another")).text == "well"
    assert asked_for == ["it/search", "it"]
    request = httpx.Request("POST", "http://it/search")
    assert transport.breaker(request) is transport.breaker(request.url) is panel["it/search"]
    assert transport.breaker(httpx.URL("http://it/")) is panel["it"]


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (None, TypeError, "key must return a str, got None"),
        (b"it", TypeError, "key must return a str, got b'it'"),
        (["it"], TypeError, "key must return a str, got \\['it'\\]"),
        ("", ValueError, "key must return a str that isn't empty, got ''"),
    ],
)
async def test_a_bad_key_sends_nothing(panel: Panel, key: Any, error: type[Exception], message: str) -> None:
    inner = Scripted(body(b"never sent"))
    asked = httpx.AsyncClient(transport=BreakerTransport(inner, panel, key=lambda _: key))
    with pytest.raises(error, match=message):
        await asked.get("http://it/")
    assert (inner.asked, len(panel)) == (0, 0)


async def test_a_key_that_raises_sends_and_counts_nothing(panel: Panel) -> None:
    inner = Scripted(body(b"first"), body(b"never sent"))
    transport = BreakerTransport(inner, panel, key=lambda request: request.headers["X-Area"])
    asked = httpx.AsyncClient(transport=transport)
    await asked.get("http://it/", headers={"X-Area": "it"})
    with pytest.raises(KeyError):
        await asked.get("http://it/")
    assert inner.asked == 1
    assert sum((await seen(panel)).counts.values()) == 1


async def test_keys_may_share_a_policy_and_so_a_breaker(panel: Panel) -> None:
    inner = Scripted(body(b"one"), body(b"two"))
    transport = BreakerTransport(inner, panel, config_for=lambda _: host_policy("both"))
    async with httpx.AsyncClient(transport=transport) as asked:
        await asked.get("http://one/")
        await asked.get("http://two/")
    assert [breaker.name for breaker in panel] == ["both"]
    assert (await panel["both"].snapshot()).counts["success"] == 2


async def test_a_breaker_that_the_panel_has_is_used_with_its_policy(panel: Panel) -> None:
    """It may have been made by other code, and an operator may have given it another policy since."""
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=9))
    asked, _ = client(panel, httpx.ReadError("a"), httpx.ReadError("b"), httpx.ReadError("c"))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    await breaker.configure(replace(breaker.config, max_failures=2))
    with pytest.raises(httpx.ReadError):
        await asked.get("/")
    assert breaker.state is State.OPEN
    with pytest.raises(CircuitOpenError):
        await asked.get("/")


async def test_a_breaker_that_the_panel_has_removed_is_used_no_more(panel: Panel) -> None:
    transport = BreakerTransport(Scripted(body(b"one"), body(b"two")), panel)
    asked = httpx.AsyncClient(transport=transport)
    await asked.get("http://it/")
    removed = transport.breaker(httpx.URL("http://it/"))
    await panel.remove("it")
    await asked.get("http://it/")
    assert panel["it"] is transport.breaker(httpx.URL("http://it/"))
    assert panel["it"] is not removed
    assert (await seen(panel)).counts["success"] == 1


async def test_a_body_is_read_to_its_end_though_its_breaker_was_removed(panel: Panel) -> None:
    """It is counted nowhere: not by the breaker that has the name now, either."""
    transport = BreakerTransport(Scripted(body(b"one", b"two"), body(b"new")), panel)
    asked = httpx.AsyncClient(transport=transport)
    async with asked.stream("GET", "http://it/") as response:
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b"one"
        await panel.remove("it")
        assert (await asked.get("http://it/")).text == "new"
        assert [piece async for piece in pieces] == [b"two"]
    counted = await seen(panel)
    assert ({key: count for key, count in counted.counts.items() if count}, counted.in_flight) == (
        {"success": 1},
        0,
    )
