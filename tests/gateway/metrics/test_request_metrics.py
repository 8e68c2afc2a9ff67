"""The counts of requests: every request once, in labels that no client can invent."""

from __future__ import annotations

import json
import re

import httpx
import pytest
import trio
import trio.testing

from gateway.metrics.request_counts import RequestCounts, request_families
from gateway.metrics.request_metrics import RequestMetrics
from gateway.metrics.route_names import ROUTE_NAMES
from runtime.serving.statistics import ServerStatistics
from tests.gateway.raw_requests import GET, ask
from tests.gateway.running_gateway import RunningGateway, in_process_gateway, served
from tests.gateway.scripted_service import DEAD, ScriptedService

LEFT = ("/schools", "GET", 499)


def requests(gateway: RunningGateway) -> dict[tuple[str, str, int], int]:
    found: RequestCounts = gateway.app.extensions["request_metrics"].snapshot()
    return dict(found.requests)


async def test_each_request_is_counted_once_by_route_method_and_status(
    gateway: RunningGateway, services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    client = gateway.client()
    services["auth"].answer = httpx.Response(401, json={})
    await client.post("/auth/login/of/somebody?x=1", json={})
    await client.get("/schools/12", headers=gateway.issuer.headers())
    await client.get("/schools")
    services["student"].answer = DEAD
    await client.get("/students", headers=gateway.issuer.headers())
    await client.get("/docs/assets/docs.js")
    await client.get("/admin/breakers/auth-service-http")
    await client.get("/no/such/path")
    await client.options("/schools")
    await client.request("PURGE", "/auth/x")
    assert requests(gateway) == {
        ("/auth", "POST", 401): 1,
        ("/schools", "GET", 200): 1,
        ("/schools", "GET", 401): 1,
        ("/students", "GET", 502): 1,
        ("/docs", "GET", 200): 1,
        ("/admin", "GET", 401): 1,
        ("other", "GET", 404): 1,
        ("/schools", "OPTIONS", 401): 1,
        ("/auth", "other", 401): 1,
    }
    found = gateway.app.extensions["request_metrics"].snapshot()
    assert found.errors == {"MISSING_TOKEN": 3, "SERVICE_UNAVAILABLE": 1, "NOT_FOUND": 1}
    assert found.in_flight == 0
    assert sum(found.buckets["/schools"]) == 3


async def test_no_client_can_add_a_route_or_a_method(
    gateway: RunningGateway, autojump_clock: trio.testing.MockClock
) -> None:
    client = gateway.client()
    for number in range(50):
        await client.request(f"M{number}", f"/{number}")
        await client.request(f"M{number}", f"/auth/{number}")
        await client.get(f"/docs/assets/{number}")
        await client.get(f"/admin/breakers/{number}")
    found = requests(gateway)
    assert {route for route, _, _ in found} <= set(ROUTE_NAMES)
    assert {method for _, method, _ in found} == {"GET", "other"}
    assert len(found) <= 5


async def test_a_request_runs_until_its_last_piece_and_is_counted_before_the_client_has_it(
    gateway: RunningGateway, services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    services["auth"].takes = 5.0
    metrics: RequestMetrics = gateway.app.extensions["request_metrics"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.client().get, "/auth/x")
        await trio.sleep(1)
        assert (metrics.snapshot().in_flight, metrics.snapshot().requests) == (1, {})
    seen = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            seen.append(requests(gateway)["/auth", "GET", 200])

    services["auth"].takes = 0.0
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/auth/x",
        "raw_path": b"/auth/x",
        "query_string": b"",
        "headers": [(b"host", b"g")],
        "client": ("::1", 1),
    }
    await gateway.app(scope, trio.sleep_forever, send)  # type: ignore[arg-type]
    assert seen == [2]


async def test_a_client_that_leaves_is_counted_too(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    services["school"].takes = 60.0
    async with in_process_gateway(services) as gateway:
        headers = [(b"host", b"g"), (b"authorization", gateway.issuer.headers()["Authorization"].encode())]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/schools",
            "raw_path": b"/schools",
            "query_string": b"",
            "headers": headers,
            "client": ("::1", 1),
        }
        received = iter(({"type": "http.request", "body": b"", "more_body": False},))

        async def receive() -> dict[str, object]:
            await trio.sleep(0.1)
            return next(received, {"type": "http.disconnect"})

        async def send(_: dict[str, object]) -> None:
            raise AssertionError("nobody reads it")

        await gateway.app(scope, receive, send)  # type: ignore[arg-type]
        assert requests(gateway) == {LEFT: 1}
        assert gateway.app.extensions["request_metrics"].snapshot().in_flight == 0


async def test_connections_and_what_the_server_refuses_itself_are_counted() -> None:
    async with served(max_header_bytes=1024) as gateway:
        stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 5000 + b"\r\n\r\n")
        assert (await stream.receive_some(12)).endswith(b"431")
        found: RequestCounts = gateway.app.extensions["request_metrics"].snapshot()
        assert (found.requests, found.errors) == ({("other", "other", 431): 1}, {"INVALID_REQUEST": 1})
        assert found.connections == 1
        await stream.aclose()
        with trio.fail_after(5):
            while gateway.app.extensions["limits"].statistics.connections:  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.01)


async def test_metrics_shows_them() -> None:
    async with served() as gateway:
        assert (await ask(gateway.port, GET.replace(b"/auth/x", b"/no/such")))[0] == 404
        text = (await ask(gateway.port, GET.replace(b"/auth/x", b"/metrics")))[2].decode()
    assert 'gateway_requests_total{method="GET",route="other",status="404"} 1.0' in text
    assert 'gateway_own_errors_total{code="NOT_FOUND"} 1.0' in text
    assert 'gateway_request_duration_seconds_count{route="other"} 1.0' in text
    assert 'gateway_request_duration_seconds_count{route="/schools"} 0.0' in text
    assert 'gateway_rate_limited_total{limit="user"} 0.0' in text
    # The scrape itself.
    assert "gateway_requests_in_flight 1.0" in text
    assert re.search(r"^gateway_connections_open [12].0$", text, re.MULTILINE)


async def test_requests_over_a_rate_limit_are_counted_by_the_limit(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    async with in_process_gateway(services, rate_limit_per_minute=1, rate_limit_per_hour=1) as gateway:
        headers = gateway.issuer.headers()
        for number in range(3):
            await gateway.client(f"192.0.2.{number}").get("/schools", headers=headers)
        for _ in range(2):
            await gateway.client().get("/health")
            await gateway.client().get("/auth/x")
        found: RequestCounts = gateway.app.extensions["request_metrics"].snapshot()
        # 192.0.2.1 has already used its one request.
        assert found.rate_limited == {"address": 2, "user": 2, "pages": 1, "assets": 0}
        assert found.errors == {"RATE_LIMITED": 5}


def counted(*statuses: int, route: str = "/auth") -> RequestCounts:
    metrics = RequestMetrics(ServerStatistics(), {"address": len(statuses)})
    for status in statuses:
        metrics.begin(route, "GET").end(status, "X" if status >= 400 else None)
    metrics.begin(route, "GET")
    return metrics.snapshot()


def test_the_counts_of_two_processes_add_up() -> None:
    one, other = counted(200, 200, 502), counted(200, route="/schools").merge(counted(502))
    both = one.merge(other)
    assert both.requests == {
        ("/auth", "GET", 200): 2,
        ("/auth", "GET", 502): 2,
        ("/schools", "GET", 200): 1,
    }
    assert {route: sum(counts) for route, counts in both.buckets.items()} == {"/auth": 4, "/schools": 1}
    assert both.seconds["/auth"] == pytest.approx(one.seconds["/auth"] + other.seconds["/auth"])
    assert (both.errors, both.rate_limited, both.in_flight) == ({"X": 2}, {"address": 5}, 3)
    assert both.merge(RequestCounts()) == RequestCounts().merge(both) == both


def test_what_a_dead_process_has_counted_stays_and_nothing_of_it_runs() -> None:
    past = counted(200, 502).of_the_past()
    assert (past.in_flight, past.connections, sum(past.requests.values())) == (0, 0, 2)


def test_the_counts_survive_json() -> None:
    counts = counted(200, 502)
    assert RequestCounts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


def test_a_request_is_counted_once_however_often_it_ends() -> None:
    metrics = RequestMetrics()
    measured = metrics.begin("/auth", "GET")
    measured.end(200)
    measured.end(None)
    assert metrics.snapshot().requests == {("/auth", "GET", 200): 1}
    assert metrics.snapshot().in_flight == 0


def test_the_histogram_of_every_route_exists_from_the_start() -> None:
    [_, durations, *_] = request_families(RequestCounts(), ROUTE_NAMES)
    assert {sample.labels["route"] for sample in durations.samples} == set(ROUTE_NAMES)
