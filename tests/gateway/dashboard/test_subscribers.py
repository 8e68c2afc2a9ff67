"""Pages that misbehave, and streams that end with the gateway."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
import trio

from actors import open_panel
from gateway.dashboard.feed import BACKLOG, DashboardFeed, Subscriber
from gateway.dashboard.places import StreamPlaces
from gateway.dashboard.sse import PATH, SEND_SECONDS, EventStream
from gateway.proxy.trusted_proxies import TrustedProxies
from gateway.routes import SERVICES
from runtime.admin.api import AdminAuthenticator
from runtime.admin.history import Recorder
from tests.gateway.dashboard.streams import ROOT, Reader, Silent, looking, shown
from tests.gateway.running_gateway import RunningGateway, in_process_gateway
from tests.mongo import free_port

# Viewers that misbehave.


def open_stream(built: RunningGateway) -> EventStream:
    async def nothing(*_: Any) -> None:
        raise AssertionError("not for the app")

    places = StreamPlaces(TrustedProxies(), AdminAuthenticator(built.issuer.keys, None))
    return EventStream(nothing, built.app.extensions["dashboard_feed"], places)


SCOPE = {"type": "http", "path": PATH, "method": "GET", "headers": []}


async def stays() -> dict[str, Any]:
    """The receive of a client that sends nothing more."""
    await trio.sleep_forever()
    raise AssertionError


async def test_a_hanging_subscriber_is_dropped_after_a_few_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Another one misses nothing meanwhile."""
    async with (
        in_process_gateway({one.name: Silent() for one in SERVICES}) as built,
        trio.open_nursery() as nursery,
    ):
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        await nursery.start(feed.run)
        began = trio.current_time()

        async def hang(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await trio.sleep_forever()

        with feed.subscribe() as other:
            reader = Reader(other.messages)
            await open_stream(built)(SCOPE, stays, hang)
            assert trio.current_time() - began == pytest.approx(SEND_SECONDS, abs=0.01)
            for _ in range(5):
                await reader.next("tick")
        nursery.cancel_scope.cancel()


async def test_a_subscriber_that_stops_reading_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real socket, when its buffers are full. Another one goes on."""
    monkeypatch.setattr("gateway.dashboard.sse.SEND_SECONDS", 0.3)
    async with shown() as built, looking(built.port) as other:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        await other.next("hello")
        before = set(feed._subscribers)
        stalled = await trio.open_tcp_stream("127.0.0.1", built.port)
        await stalled.send_all(b"GET /dashboard/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await stalled.receive_some(10)
        [viewer] = feed._subscribers - before
        viewer.send(b"x" * 50_000_000)
        with trio.fail_after(5):
            while feed._subscribers != before:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.01)
        assert not viewer.scope.cancel_called, "dropped for its slowness, not for what waits"
        for _ in range(2):
            await other.next("tick")
        await stalled.aclose()


async def test_a_subscriber_that_falls_behind_is_dropped() -> None:
    """Its queue is bounded."""
    viewer = Subscriber()
    for _ in range(BACKLOG):
        viewer.send(b"x")
    assert not viewer.scope.cancel_called
    viewer.send(b"x")
    assert viewer.scope.cancel_called


async def test_a_subscriber_that_leaves_is_removed_at_once() -> None:
    async with shown() as built:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        async with looking(built.port) as reader:
            await reader.next("hello")
            assert len(feed._subscribers) == 1
        with trio.fail_after(2):
            while feed._subscribers:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.01)


async def test_one_subscriber_above_the_limit_gets_an_error_with_retry_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.dashboard.places.PLACES_OF_A_CLIENT", 1)
    async with shown() as built, looking(built.port) as reader:
        await reader.next("hello")
        answer = await to_the_end(built.port)
        assert (answer.status_code, answer.json()["error"]) == (503, "SERVICE_UNAVAILABLE")
        assert "retry-after" in answer.headers


async def to_the_end(port: int) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{PATH}")


async def test_streams_end_cleanly_at_the_shutdown_and_no_new_one_begins() -> None:
    async with shown() as built, looking(built.port) as reader:
        await reader.next("hello")
        built.app.extensions["dashboard_feed"].end()
        with trio.fail_after(2), pytest.raises(StopAsyncIteration):
            while True:
                await anext(reader._pieces)
        assert (await to_the_end(built.port)).status_code == 503


async def test_the_feed_ends_with_the_panel() -> None:
    """Recorder and feed return; nothing hangs."""
    async with open_panel() as panel:
        feed = DashboardFeed(Recorder("x", panel), {})
        nursery_ended = trio.Event()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            await feed.run(task_status=task_status)
            nursery_ended.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            with feed.subscribe():
                await trio.sleep(0.05)
                panel.begin_closing()
                with trio.fail_after(3):
                    await nursery_ended.wait()


def test_sigterm_does_not_wait_for_subscribers() -> None:
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
