"""The dashboard: its page, the events of its stream, and that no viewer can harm anything."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
import trio

from deploy.terminal.watch import LiveView
from gateway.dashboard.feed import DashboardFeed
from gateway.routes import SERVICES
from tests.gateway.dashboard.streams import Reader, Silent, looking, shown
from tests.gateway.running_gateway import in_process_gateway


async def test_a_new_subscriber_gets_the_whole_state_and_then_the_changes() -> None:
    """A process that doesn't answer is part of the state. A transition is sent at once."""
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
    """`just watch` uses `since` and `started`."""
    async with shown() as built, looking(built.port) as reader:
        board = LiveView("")
        board.apply("hello", await reader.next("hello"))
        for _ in range(2):
            board.apply("report", await reader.next("report", "api-gateway"))
        known = {name for name, _, breaker in board.breakers() if breaker is not None}
        assert known == {one.breaker for one in SERVICES}


async def test_a_change_of_another_workers_breaker_is_sent() -> None:
    """The worker sees it when it next merges the workers' reports."""
    async with shown() as built, looking(built.port) as reader:
        await reader.next("report", "api-gateway")
        await reader.next("tick")
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        late = {"breaker": "auth-service-http", "old": "CLOSED", "new": "OPEN", "time": time.time() - 2.5}
        feed._recorder._history("auth-service-http").transitions.append(late)
        with trio.fail_after(5):
            while not (changed := (await reader.next("report", "api-gateway"))["breakers"]):
                pass
        assert [one["transitions"] for one in changed] == [[late]]


async def test_a_service_that_does_not_answer_is_reported_as_silent() -> None:
    """Its last report isn't repeated."""
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
async def test_a_service_with_an_invalid_response_is_reported_as_silent(body: bytes) -> None:
    """The feed and the gateway go on."""
    lines = {one.name: Silent(lambda: httpx.Response(200, content=body)) for one in SERVICES}
    async with in_process_gateway(lines) as built, trio.open_nursery() as nursery:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        await nursery.start(feed.run)
        with feed.subscribe() as viewer:
            reader = Reader(viewer.messages)
            assert (await reader.next("report", "auth-service"))["answers"] is False
            assert (await reader.next("report", "auth-service"))["answers"] is False
        nursery.cancel_scope.cancel()


def report_of(started: float, now: float, since: float, transitions: list[Any]) -> httpx.Response:
    """A service's answer."""
    past = {"transitions": transitions, "failures": [], "calls_by_time": []}
    breakers = [{"name": "auth-database", "state": "CLOSED", **past}]
    report = {"now": now, "since": since, "started": started, "breakers": breakers}
    return httpx.Response(200, json={"data": report})


async def test_a_new_subscriber_gets_a_restart_and_the_history_before_it() -> None:
    """With the gap between them."""
    then = time.time() - 60
    opened = {"time": then - 1, "new": "OPEN"}
    answers = [report_of(then - 9, then, 0.0, [opened]), report_of(then + 5, then + 6, then - 3, [])]
    lines = {one.name: Silent() for one in SERVICES}
    lines["auth"] = Silent(lambda: answers.pop(0))
    async with in_process_gateway(lines) as built:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        auth = feed._upstreams["auth"]
        await feed._fetch(auth)
        await feed._fetch(auth)
        with feed.subscribe() as viewer:
            feed._publish("auth-service", None)
            whole = await Reader(viewer.messages).next("report", "auth-service")
    assert (whole["since"], whole["starts"]) == (0, [then - 9, then + 5])
    assert whole["gaps"][0] == [then, then + 5]
    assert whole["gaps"][1][0] == then + 6, "and now it is silent"
    assert whole["breakers"][0]["transitions"] == [opened]


async def test_services_are_polled_only_while_there_is_a_subscriber(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An hour without one, then a second with fifty: each service is polled once or twice."""
    lines = {one.name: Silent() for one in SERVICES}
    async with in_process_gateway(lines) as built, trio.open_nursery() as nursery:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        await nursery.start(feed.run)
        await trio.sleep(3600)
        assert {line.asked for line in lines.values()} == {0}
        viewers = [feed.subscribe() for _ in range(50)]
        for viewer in viewers:
            viewer.__enter__()
        await trio.sleep(0.95)
        assert {line.asked for line in lines.values()} <= {1, 2}
        for viewer in viewers:
            viewer.__exit__(None, None, None)
        nursery.cancel_scope.cancel()
