"""Operators' orders in the dashboard's stream."""

from __future__ import annotations

import time
from typing import Any

import httpx
import trio

from gateway.dashboard.feed import DashboardFeed, parse_report
from gateway.routes import SERVICES
from tests.gateway.dashboard.streams import Reader, Silent, looking, shown
from tests.gateway.running_gateway import in_process_gateway

ORDER = {
    "id": "a",
    "action": "reset",
    "breaker": "auth-database",
    "reason": "",
    "time": 1.0,
    "in_force": False,
}


def reported(now: float, *orders: dict[str, Any], started: float = 0.0) -> httpx.Response:
    """A service's answer."""
    report = {"now": now, "since": 0.0, "started": started, "breakers": [], "orders": list(orders)}
    return httpx.Response(200, json={"data": report})


async def test_orders_are_sent_whole_at_first_and_then_when_they_change() -> None:
    """Orders that a process has forgotten are kept for new pages."""
    now = time.time()
    second = {**ORDER, "id": "b", "time": 2.0}
    answers = [reported(now, ORDER), reported(now + 1, ORDER), reported(now + 2, second, started=now + 2)]
    lines = {one.name: Silent() for one in SERVICES}
    lines["auth"] = Silent(lambda: answers.pop(0))
    async with in_process_gateway(lines) as built:
        feed: DashboardFeed = built.app.extensions["dashboard_feed"]
        with feed.subscribe() as subscriber:
            reader = Reader(subscriber.messages)
            found = []
            for _ in range(3):
                await feed._fetch(feed._upstreams["auth"])
                found.append(await reader.next("report", "auth-service"))
        assert [one.get("orders") for one in found] == [[ORDER], None, [ORDER, second]]
        with feed.subscribe() as subscriber:
            feed._publish("auth-service", None)
            whole = await Reader(subscriber.messages).next("report", "auth-service")
            assert whole["orders"] == [ORDER, second]


async def test_an_operators_order_reaches_an_open_page_without_the_operator() -> None:
    token = "an-admin-token-for-the-test-of-32-characters"
    async with shown(admin_token=token) as built, looking(built.port) as reader:
        assert (await reader.next("report", "api-gateway"))["orders"] == []
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{built.port}/admin/breakers/auth-service-http/policy"
            fields = {"Authorization": f"Bearer {token}"}
            answer = await client.put(url, json={"max_failures": 7, "reason": "a slow day"}, headers=fields)
            assert answer.status_code == 200
        with trio.fail_after(5):
            while not (found := (await reader.next("report", "api-gateway")).get("orders")):
                pass
    assert [(one["action"], one["changes"], one["reason"]) for one in found] == [
        ("configure", {"max_failures": 7}, "a slow day")
    ]
    assert "who" not in found[0]


def test_a_report_with_invalid_orders_is_invalid() -> None:
    report = {"now": 1.0, "since": 0.0, "started": 0.0, "breakers": []}
    assert parse_report({"data": {**report, "orders": [ORDER]}}) is not None
    for orders in (None, [1], [{**ORDER, "id": 1}], [{"id": "a", "action": "reset"}]):
        assert parse_report({"data": {**report, "orders": orders}}) is None
