"""The dashboard: its page, what its stream tells, and that no viewer can harm anything."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from actors import open_panel
from deploy.terminal.watch import LiveView
from gateway.dashboard import live as live_module
from gateway.dashboard.feed import BEHIND, VIEWERS, DashboardFeed, Subscriber
from gateway.dashboard.sse import PATH, SEND_SECONDS, EventStream
from gateway.dashboard.uptime import GAPS, SPAN_SECONDS, STARTS, ProcessUptime
from gateway.routes import SERVICES
from runtime.admin.history import Recorder
from tests.gateway.house import House, house, served
from tests.mongo import free_port

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "gateway" / "dashboard" / "assets"

# The page.


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    """Every reference in it and in its parts is to the gateway, and is there."""
    async with house({one.name: Silent() for one in SERVICES}) as built, built.client() as client:
        page = await client.get("/dashboard")
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        texts = [page.text, *(path.read_text() for path in ASSETS.iterdir())]
        elsewhere = {found for text in texts for found in re.findall(r"https?://[^\"' )]+", text)}
        assert elsewhere == {"http://www.w3.org/2000/svg"}  # a name, not an address
        for reference in re.findall(r'(?:href|src)="(/dashboard/assets/[^"]+)"', page.text):
            assert (await client.get(reference)).status_code == 200, reference
        for path in ASSETS.glob("*.js"):
            for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
                assert (ASSETS / name).exists(), name


async def test_nothing_in_the_page_is_inline() -> None:
    """The policy would keep it from working."""
    for path in ASSETS.iterdir():
        text = path.read_text()
        assert not re.search(r"<style|<script(?![^>]+src=)|\sstyle=|\son[a-z]+=\"|innerHTML", text), path


@pytest.mark.parametrize("name", ["nothing.js", "dashboard.html", "..%2flive.py"])
async def test_other_assets_are_404(name: str) -> None:
    """Only what the page is made of is served."""
    async with house({one.name: Silent() for one in SERVICES}) as built, built.client() as client:
        assert (await client.get(f"/dashboard/assets/{name}")).status_code == 404


# What the stream tells.


class Silent(httpx.AsyncBaseTransport):
    """A service that isn't there; it counts who asks."""

    def __init__(self, answer: Callable[[], httpx.Response] | None = None) -> None:
        self.asked = 0
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self._answer is None:
            raise httpx.ConnectError("connection refused")
        return self._answer()


class Reader:
    """Reads events from a stream of bytes."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def next(self, kind: str, process: str | None = None) -> dict[str, Any]:
        """The next event of a kind."""
        with trio.fail_after(3):
            while True:
                while b"\n\n" not in self._rest:
                    self._rest += await anext(self._pieces)
                event, _, self._rest = self._rest.partition(b"\n\n")
                first, _, data = event.decode().partition("\ndata: ")
                found: dict[str, Any] = json.loads(data)
                if first == f"event: {kind}" and process in (None, found.get("process")):
                    return found


@asynccontextmanager
async def looking(port: int) -> AsyncIterator[Reader]:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        async with client.stream("GET", f"http://127.0.0.1:{port}{PATH}") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Reader(answer.aiter_raw())


@asynccontextmanager
async def shown(**settings: Any) -> AsyncIterator[House]:
    """A gateway on a port, with its dashboard fed."""
    async with served(**settings) as built, trio.open_nursery() as nursery:
        await nursery.start(built.app.extensions["live"].run)
        yield built
        nursery.cancel_scope.cancel()


async def test_a_viewer_is_told_everything_then_what_changes() -> None:
    """Who is who; each process as it answers, or that it doesn't; a transition at once."""
    async with shown() as built, looking(built.port) as reader:
        cast = await reader.next("hello")
        assert [one["breaker"] for one in cast["services"]] == [one.breaker for one in SERVICES]
        whole = await reader.next("report", "api-gateway")
        assert {one["name"]: one["state"] for one in whole["breakers"]} == {
            one.breaker: "CLOSED" for one in SERVICES
        }
        async with looking(built.port) as other:
            await other.next("report", "auth-service")
            began = trio.current_time()
            await built.panel["auth-service-http"].trip("for the test")
            while not (changed := (await reader.next("report", "api-gateway"))["breakers"]):
                pass
            assert trio.current_time() - began < 0.6
        assert [(one["name"], one["state"], one["reason"]) for one in changed] == [
            ("auth-service-http", "OPEN", "for the test")
        ]
        assert [(one["old"], one["new"]) for one in changed[0]["transitions"]] == [("CLOSED", "OPEN")]


async def test_the_terminal_reads_the_same_stream() -> None:
    """`just watch` goes by `since` and `started`."""
    async with shown() as built, looking(built.port) as reader:
        board = LiveView("")
        board.take("hello", await reader.next("hello"))
        for _ in range(2):
            board.take("report", await reader.next("report", "api-gateway"))
        known = {name for name, _, breaker in board.breakers() if breaker is not None}
        assert known == {one.breaker for one in SERVICES}


async def test_what_a_process_learns_late_is_told_all_the_same() -> None:
    """One of several workers hears of another's breaker when it next looks."""
    async with shown() as built, looking(built.port) as reader:
        await reader.next("report", "api-gateway")
        await reader.next("tick")
        live: DashboardFeed = built.app.extensions["live"]
        late = {"breaker": "auth-service-http", "old": "CLOSED", "new": "OPEN", "time": time.time() - 2.5}
        live._recorder._of("auth-service-http").transitions.append(late)
        with trio.fail_after(5):
            while not (changed := (await reader.next("report", "api-gateway"))["breakers"]):
                pass
        assert [one["transitions"] for one in changed] == [[late]]


async def test_a_service_that_does_not_answer_is_said_to_be_silent() -> None:
    """And what it told before isn't repeated as if it were true."""
    async with shown() as built, looking(built.port) as reader:
        told = await reader.next("report", "student-service")
        assert (told["answers"], told["breakers"]) == (False, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"data": 3}',
        b'{"data": {"breakers": [1]}}',
        b'{"data": {"breakers": {}}}',
        b'{"data": {"breakers": [], "now": null, "since": 0, "started": 0}}',
    ],
)
async def test_a_service_that_answers_nonsense_is_silent_too(body: bytes) -> None:
    """It harms neither the feed nor the gateway."""
    lines = {one.name: Silent(lambda: httpx.Response(200, content=body)) for one in SERVICES}
    async with house(lines) as built, trio.open_nursery() as nursery:
        live: DashboardFeed = built.app.extensions["live"]
        await nursery.start(live.run)
        with live.viewer() as viewer:
            reader = Reader(viewer.messages)
            assert (await reader.next("report", "auth-service"))["answers"] is False
            assert (await reader.next("report", "auth-service"))["answers"] is False
        nursery.cancel_scope.cancel()


# Who was there, and when.


def test_a_silence_is_a_gap() -> None:
    """From when the process was last heard of until it answers again."""
    presence = ProcessUptime()
    presence.answers(90, 100)
    presence.is_silent(101)
    presence.is_silent(105)
    assert presence.gaps == [(100, 105)]
    presence.answers(90, 107)
    presence.answers(90, 108)
    assert (presence.starts, presence.gaps) == ([90], [(100, 107)])


def test_a_gap_ends_with_a_new_start() -> None:
    """What was since then the process knows; also where nobody has seen it silent."""
    presence = ProcessUptime()
    presence.answers(90, 100)
    presence.answers(100.5, 101)
    presence.is_silent(102)
    presence.answers(104, 107)
    assert presence.starts == [90, 100.5, 104]
    assert presence.gaps == [(100, 100.5), (101, 104)]


def test_a_process_never_heard_of_is_silent_since_it_was_asked() -> None:
    """Until its start, or its answer, when it was there all the time."""
    for started, end in ((103, 103), (50, 105)):
        presence = ProcessUptime()
        presence.is_silent(100)
        presence.answers(started, 105)
        assert (presence.starts, presence.gaps) == ([started], [(100, end)])


def test_what_is_kept_of_presence_is_bounded() -> None:
    """By the span on show, and by a number."""
    presence = ProcessUptime()
    presence.answers(0, 0)
    for n in range(1, 1000):
        presence.answers(n - 0.5, n)
    assert (len(presence.starts), len(presence.gaps)) == (STARTS, GAPS)
    presence.is_silent(2000)
    presence.answers(0, 2000 + SPAN_SECONDS)
    presence.is_silent(2001 + 3 * SPAN_SECONDS)
    assert presence.gaps == [(2000 + SPAN_SECONDS, 2001 + 3 * SPAN_SECONDS)]


def told_of(started: float, now: float, since: float, transitions: list[Any]) -> httpx.Response:
    """A service's answer."""
    past = {"transitions": transitions, "failures": [], "calls_by_time": []}
    breakers = [{"name": "auth-database", "state": "CLOSED", **past}]
    report = {"now": now, "since": since, "started": started, "breakers": breakers}
    return httpx.Response(200, json={"data": report})


async def test_a_fresh_page_knows_of_a_restart() -> None:
    """When it was, the hole before it, and what was before that, to the last second."""
    then = time.time() - 60
    opened = {"time": then - 1, "new": "OPEN"}
    answers = [told_of(then - 9, then, 0.0, [opened]), told_of(then + 5, then + 6, then - 3, [])]
    lines = {one.name: Silent() for one in SERVICES}
    lines["auth"] = Silent(lambda: answers.pop(0))
    async with house(lines) as built:
        live: DashboardFeed = built.app.extensions["live"]
        auth = live._upstreams["auth"]
        await live._ask(auth)
        await live._ask(auth)
        with live.viewer() as viewer:
            live._take("auth-service", None)
            whole = await Reader(viewer.messages).next("report", "auth-service")
    assert (whole["since"], whole["starts"]) == (0, [then - 9, then + 5])
    assert whole["gaps"][0] == [then, then + 5]
    assert whole["gaps"][1][0] == then + 6, "and now it is silent"
    assert whole["breakers"][0]["transitions"] == [opened]


async def test_nobody_is_asked_while_nobody_looks(autojump_clock: trio.testing.MockClock) -> None:
    """An hour without a viewer, then a second with fifty: each service is asked once or twice."""
    lines = {one.name: Silent() for one in SERVICES}
    async with house(lines) as built, trio.open_nursery() as nursery:
        live: DashboardFeed = built.app.extensions["live"]
        await nursery.start(live.run)
        await trio.sleep(3600)
        assert {line.asked for line in lines.values()} == {0}
        viewers = [live.viewer() for _ in range(50)]
        for viewer in viewers:
            viewer.__enter__()
        await trio.sleep(0.95)
        assert {line.asked for line in lines.values()} <= {1, 2}
        for viewer in viewers:
            viewer.__exit__(None, None, None)
        nursery.cancel_scope.cancel()


# Viewers that misbehave.


def open_stream(built: House) -> EventStream:
    async def nothing(*_: Any) -> None:
        raise AssertionError("not for the app")

    return EventStream(nothing, built.app.extensions["live"])


SCOPE = {"type": "http", "path": PATH, "method": "GET"}


async def stays() -> dict[str, Any]:
    """The receive of a client that says nothing more."""
    await trio.sleep_forever()
    raise AssertionError


async def test_a_viewer_that_hangs_is_dropped_alone(autojump_clock: trio.testing.MockClock) -> None:
    """After a few seconds; another one misses nothing meanwhile."""
    async with house({one.name: Silent() for one in SERVICES}) as built, trio.open_nursery() as nursery:
        live: DashboardFeed = built.app.extensions["live"]
        await nursery.start(live.run)
        began = trio.current_time()

        async def hang(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await trio.sleep_forever()

        with live.viewer() as other:
            reader = Reader(other.messages)
            await open_stream(built)(SCOPE, stays, hang)
            assert trio.current_time() - began == pytest.approx(SEND_SECONDS, abs=0.01)
            for _ in range(5):
                await reader.next("tick")
        nursery.cancel_scope.cancel()


async def test_a_viewer_that_stops_reading_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real socket, when its buffers are full; its connection is closed, and another goes on."""
    monkeypatch.setattr("gateway.dashboard.sse.SEND_SECONDS", 0.3)
    async with shown() as built, looking(built.port) as other:
        live: DashboardFeed = built.app.extensions["live"]
        await other.next("hello")
        before = set(live._viewers)
        stalled = await trio.open_tcp_stream("127.0.0.1", built.port)
        await stalled.send_all(b"GET /dashboard/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await stalled.receive_some(10)
        [viewer] = live._viewers - before
        viewer.give(b"x" * 50_000_000)
        with trio.fail_after(5):
            while live._viewers != before:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.01)
        assert not viewer.scope.cancel_called, "dropped for its slowness, not for what waits"
        for _ in range(2):
            await other.next("tick")
        await stalled.aclose()


async def test_a_viewer_that_falls_behind_is_dropped() -> None:
    """What waits for it is bounded."""
    viewer = Subscriber()
    for _ in range(BEHIND):
        viewer.give(b"x")
    assert not viewer.scope.cancel_called
    viewer.give(b"x")
    assert viewer.scope.cancel_called


async def test_a_viewer_that_leaves_is_forgotten() -> None:
    """At once, and nothing is sent to it any more."""
    async with shown() as built:
        live: DashboardFeed = built.app.extensions["live"]
        async with looking(built.port) as reader:
            await reader.next("hello")
            assert len(live._viewers) == 1
        with trio.fail_after(2):
            while live._viewers:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.01)


async def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to come back, as every failure is told."""
    monkeypatch.setattr(live_module, "VIEWERS", 1)
    assert VIEWERS == 100
    async with shown() as built, looking(built.port) as reader:
        await reader.next("hello")
        answer = await to_the_end(built.port)
        assert (answer.status_code, answer.json()["error"]) == (503, "SERVICE_UNAVAILABLE")
        assert "retry-after" in answer.headers


async def to_the_end(port: int) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{PATH}")


async def test_streams_end_when_the_gateway_is_about_to() -> None:
    """Cleanly, for those who look; and no new one begins."""
    async with shown() as built, looking(built.port) as reader:
        await reader.next("hello")
        built.app.extensions["live"].end()
        with trio.fail_after(2), pytest.raises(StopAsyncIteration):
            while True:
                await anext(reader._pieces)
        assert (await to_the_end(built.port)).status_code == 503


async def test_the_feed_ends_with_the_panel() -> None:
    """Recorder and feed return; nothing hangs."""
    async with open_panel() as panel:
        live = DashboardFeed(Recorder("x", panel), {})
        nursery_ended = trio.Event()

        async def feed(*, task_status: trio.TaskStatus[None]) -> None:
            await live.run(task_status=task_status)
            nursery_ended.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(feed)
            with live.viewer():
                await trio.sleep(0.05)
                panel.begin_closing()
                with trio.fail_after(3):
                    await nursery_ended.wait()


def test_sigterm_does_not_wait_for_viewers() -> None:
    """A gateway with an open dashboard ends with 0, long before the time of grace is over."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={**os.environ, "GATEWAY_PORT": str(port), "GATEWAY_WORKERS": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_up(port)
        with httpx.stream("GET", f"http://127.0.0.1:{port}{PATH}", trust_env=False) as answer:
            pieces = answer.iter_raw()  # kept: its end would close the connection
            assert next(pieces).startswith(b"event: hello")
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


def wait_until_up(port: int) -> None:
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the gateway doesn't come up")
