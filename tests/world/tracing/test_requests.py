"""One trace through the whole stack: gateway, service, gRPC and database, with breakers."""

from __future__ import annotations

import math
from functools import partial

import httpx
import trio
from opentelemetry.trace import StatusCode
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreakerConfig,
    open_panel,
)
from runtime.observability import tracing
from tests.spans import Seen
from tests.world.in_process_stack import open_in_process_stack
from tests.world.tracing.traces import PARENT, TRACE, events


async def test_one_trace_from_the_client_to_the_database(seen: Seen, mock_clock: MockClock) -> None:
    """The spans of one request are one tree, and belong to the trace that the client began."""
    async with open_in_process_stack() as stack:
        await stack.sign_in()
        school = await stack.add_school()
        seen.forget()
        stack.client.headers["traceparent"] = PARENT
        with capture_logs(processors=[merge_contextvars]) as lines:
            answer = await stack.add_student(school, "R-1")
        assert answer.status_code == 201
    assert seen.tree() == [
        "POST /students",
        "  student-service-http",
        "    POST /students",
        "      student-service-grpc",
        "        school.SchoolService/ValidateSchool",
        "          school-database",
        "      student-database",
    ]
    assert {f"{span.context.trace_id:032x}" for span in seen.spans} == {TRACE}
    outermost = seen.spans[0]
    assert outermost.parent is not None
    assert f"{outermost.parent.span_id:016x}" == "b7ad6b7169203331"
    said = [line for line in lines if line["event"] == "request"]
    assert [line["trace_id"] for line in said] == [TRACE] * 3
    assert {line["request_id"] for line in said} == {answer.headers["x-request-id"]}
    assert said[0]["method"] == "school.SchoolService/ValidateSchool"
    assert {
        "server.address": "school",
        "server.port": 50051,
        "rpc.grpc.status_code": 0,
    }.items() <= dict(seen.one("student-service-grpc").attributes or {}).items()


async def test_spans_have_routes_and_addresses_and_no_secrets(seen: Seen, mock_clock: MockClock) -> None:
    async with open_in_process_stack() as stack:
        await stack.sign_in()
        seen.forget()
        answer = await stack.client.post(
            "/auth/login?token=hush", json={"email": "a@b.example", "password": "secret1"}
        )
        assert answer.status_code == 401
        await stack.client.get("/schools/a@b.example", headers={"X-Request-ID": "from-a@b.example"})
    outer, client, inner = (dict(seen.spans[n].attributes or {}) for n in range(3))
    assert {"http.response.status_code": 401, "http.route": "/login"}.items() <= inner.items()
    assert (outer["url.path"], outer["client.address"]) == ("/auth/login", "192.0.2.1")
    assert outer["http.response.header.x-request-id"] == (answer.headers["x-request-id"],)
    assert {
        "circuit_breaker.name": "auth-service-http",
        "http.response.status_code": 401,
    }.items() <= client.items()
    assert [span.name for span in seen.spans[:3]] == ["POST /auth", "auth-service-http", "POST /login"]
    everything = "".join(span.to_json() for span in seen.spans)
    assert "secret1" not in everything
    assert "hush" not in everything
    assert "b.example" not in everything


async def test_a_breakers_decision_is_an_event_of_its_call(seen: Seen, mock_clock: MockClock) -> None:
    async with open_in_process_stack() as stack:
        stack.lines["auth"].cut()
        for _ in range(6):
            await stack.login()
        mock_clock.jump(60)
        stack.lines["auth"].mend()
        await wait_all_tasks_blocked()
        await stack.login()
        await stack.login()
    calls = [span for span in seen.spans if span.name == "auth-service-http"]
    assert [events(span) for span in calls] == [
        *[["admitted"]] * 4,
        ["admitted", "opened"],
        ["rejected"],
        ["admitted", "closed"],
        ["admitted"],
    ]
    rejected = dict(calls[5].events[0].attributes or {})
    assert {"circuit_breaker.state": "open", "circuit_breaker.reason": "open"}.items() <= rejected.items()
    assert 59 < float(rejected["circuit_breaker.retry_after"]) <= 60  # type: ignore[arg-type]
    assert (calls[6].events[0].attributes or {})["circuit_breaker.state"] == "half_open"
    assert dict(calls[4].events[1].attributes or {}) == {"from": "closed", "to": "open"}
    assert [span.status.status_code for span in calls] == [*[StatusCode.ERROR] * 6, *[StatusCode.UNSET] * 2]
    outer = [span for span in seen.spans if span.name == "POST /auth"]
    assert [(span.attributes or {})["http.response.status_code"] for span in outer][4:7] == [502, 503, 401]


async def test_a_503_has_the_failed_breaker_in_log_and_span(seen: Seen, mock_clock: MockClock) -> None:
    """In the gateway's as well. The client doesn't see it."""
    async with open_in_process_stack() as stack:
        await stack.sign_in()
        stack.schools.faults.fail()
        seen.forget()
        with capture_logs() as lines:
            answer = await stack.client.get("/schools")
    assert (answer.status_code, "x-failure-origin" in answer.headers) == (503, False)
    assert [line.get("breaker") for line in lines if line["event"] == "request"] == ["school-database"] * 2
    outer, call, inner = (dict(span.attributes or {}) for span in seen.spans[:3])
    assert call["circuit_breaker.failure_origin"] == "school-database"
    assert [one["error.type"] for one in (outer, call, inner)] == ["503"] * 3


async def test_the_spans_of_a_disconnected_client_have_its_request_id(
    seen: Seen, mock_clock: MockClock
) -> None:
    async with open_in_process_stack() as stack:
        await stack.sign_in()
        stack.schools.faults.delay = math.inf
        seen.forget()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(stack.client.get, "/schools", headers={"X-Request-ID": "mine"}))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    told = [dict(span.attributes or {}) for span in seen.spans if span.name == "GET /schools"]
    assert [one["http.response.header.x-request-id"] for one in told] == [("mine",)] * 2


async def test_health_checks_and_scrapes_have_no_spans(seen: Seen, mock_clock: MockClock) -> None:
    async with open_in_process_stack() as stack:
        for path in ("/health", "/livez", "/readyz", "/metrics"):
            assert (await stack.client.get(path)).status_code == 200
        for path in ("/health", "/livez", "/readyz", "/metrics", "/breakers"):
            for line in stack.lines.values():
                await line.handle_async_request(httpx.Request("GET", f"http://it{path}"))
    # The gateway fetches the keys meanwhile.
    assert {span.name for span in seen.spans} <= {"GET /.well-known/jwks.json"}


async def test_without_tracing_nothing_is_wrapped(mock_clock: MockClock) -> None:
    async with open_panel() as panel, open_in_process_stack() as stack:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        assert tracing.traced_breaker(breaker) is breaker
        line = stack.lines["auth"]
        assert tracing.traced_transport(line) is line
        assert tracing.traced_app(line) is line
        assert tracing.exemplar_labels() is None
        stack.client.headers["traceparent"] = PARENT
        assert (await stack.login()).status_code == 401
