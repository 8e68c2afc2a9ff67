"""One trace through the whole stack: gateway, service, gRPC and database, with the breakers' decisions."""

from __future__ import annotations

import math
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreakerConfig,
    CircuitOpenError,
    State,
    open_panel,
)
from runtime.observability import tracing
from services.grpc.tracing import traced_service
from tests.spans import Seen, recorded
from tests.world.in_process_stack import open_in_process_stack

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def seen() -> Iterator[Seen]:
    with recorded() as spans:
        yield spans


def events(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("circuit_breaker.") for event in span.events]


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


async def test_spans_say_what_and_where_and_keep_secrets(seen: Seen, mock_clock: MockClock) -> None:
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


async def test_the_breakers_decisions_are_events_of_the_calls_they_fell_on(
    seen: Seen, mock_clock: MockClock
) -> None:
    """Opened by the fifth failure, rejecting, probing at the deadline, closed by the probe."""
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


async def test_a_service_that_had_to_refuse_says_whose_fault_it_was(
    seen: Seen, mock_clock: MockClock
) -> None:
    """On the gateway's line and span as well, where the client sees nothing of it."""
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


async def test_a_client_that_leaves_is_known_by_its_request(seen: Seen, mock_clock: MockClock) -> None:
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


async def test_a_client_that_leaves_is_told_as_a_cancellation(seen: Seen, mock_clock: MockClock) -> None:
    async with open_panel() as panel:
        breaker = tracing.traced_breaker(panel.breaker(CircuitBreakerConfig(name="it", max_concurrent=1)))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, trio.sleep_forever)
                await wait_all_tasks_blocked()
                with pytest.raises(BulkheadFullError):
                    await breaker.execute(trio.sleep, 0)
                scope.cancel()
        assert breaker.name in panel
    cancelled, full = seen.spans
    assert (events(cancelled), events(full)) == (["admitted", "cancelled"], ["rejected"])
    assert dict(full.events[0].attributes or {}) == {
        "circuit_breaker.reason": "bulkhead",
        "circuit_breaker.retry_after": 1.0,
    }


async def test_a_result_is_judged_as_without_tracing(seen: Seen) -> None:
    """Whatever the policy says of results, errors and timeouts holds through the spans."""
    async with open_panel() as panel:
        policy = CircuitBreakerConfig(
            name="it", max_failures=2, failure_result=lambda n: n == 3, call_timeout=0.01
        )
        breaker = tracing.traced_breaker(panel.breaker(policy))

        async def number(n: int) -> int:
            return n

        assert await breaker.execute(number, 3) == 3
        with pytest.raises(CallTimeout):
            await breaker.execute(trio.sleep_forever)
        assert breaker.state is State.OPEN
        with pytest.raises(CircuitOpenError):
            async with breaker.guard():
                raise AssertionError("not admitted")
    assert [events(span) for span in seen.spans] == [
        ["admitted"],
        ["admitted", "timed_out", "opened"],
        ["rejected"],
    ]


async def test_what_others_did_meanwhile_is_not_told_of_a_call(seen: Seen) -> None:
    async with open_panel() as panel:
        breaker = tracing.traced_breaker(panel.breaker(CircuitBreakerConfig(name="it")))
        async with breaker.guard():
            await breaker.trip()
    assert [events(span) for span in seen.spans] == [["admitted"]]


async def test_a_clients_own_fields_do_not_pass_beside_ours(seen: Seen) -> None:
    """What belongs to a trace that can't be taken up would be taken for a part of the one begun here."""
    arrived: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request.headers)
        return httpx.Response(200)

    transport = tracing.traced_transport(httpx.MockTransport(answer))
    fields = [("traceparent", "garbage"), ("traceparent", PARENT), ("tracestate", "them=1")]
    with tracing.tracer().start_as_current_span("it") as span:
        await transport.handle_async_request(httpx.Request("GET", "http://it", headers=fields))
    await transport.handle_async_request(httpx.Request("GET", "http://it", headers=fields))
    inside, outside = arrived
    ours = span.get_span_context()
    (told,) = inside.get_list("traceparent")
    assert told.startswith(f"00-{ours.trace_id:032x}-{ours.span_id:016x}-")
    assert "tracestate" not in inside
    assert outside.get_list("traceparent") == ["garbage", PARENT]


@pytest.mark.parametrize(
    ("url", "port"), [("http://it/x?a=hush", 80), ("https://it", 443), ("http://it:8081", 8081)]
)
async def test_a_call_that_fails_says_whom_it_was_for(seen: Seen, url: str, port: int) -> None:
    """Address and port, no query, and the kind of error without its words."""

    class _Private(httpx.ConnectError):
        pass

    async def refuse(_: httpx.Request) -> httpx.Response:
        raise _Private(f"hush: {url}")

    transport = tracing.traced_transport(httpx.MockTransport(refuse))
    async with open_panel() as panel:
        breaker = tracing.traced_breaker(panel.breaker(CircuitBreakerConfig(name="it-http")))
        with pytest.raises(httpx.ConnectError):
            await breaker.execute(transport.handle_async_request, httpx.Request("GET", url))
    (span,) = seen.spans
    assert {
        "http.request.method": "GET",
        "server.address": "it",
        "server.port": port,
        "error.type": "ConnectError",
    }.items() <= dict(span.attributes or {}).items()
    assert "hush" not in span.to_json()


async def test_an_app_that_fails_is_told_by_the_kind_of_its_error(seen: Seen) -> None:
    """Its words may quote what must stay inside."""

    class _Private(ValueError):
        pass

    async def app(*_: Any) -> None:
        raise _Private("hush")

    scope = {"type": "http", "method": "GET", "path": "/x", "scheme": "http", "http_version": "1.1"}
    nothing: Any = None
    with pytest.raises(ValueError, match="hush"):
        await tracing.traced_app(app)({**scope, "headers": []}, nothing, nothing)  # type: ignore[call-arg]
    (span,) = seen.spans
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert span.status.status_code is StatusCode.ERROR
    assert "hush" not in span.to_json()


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (None, 0, StatusCode.UNSET),
        (GRPCError(Status.INVALID_ARGUMENT, "hush"), 3, StatusCode.UNSET),
        (GRPCError(Status.UNAVAILABLE, "hush"), 14, StatusCode.ERROR),
        (ValueError("hush"), 2, StatusCode.ERROR),
        (CancelledError("hush"), 1, StatusCode.UNSET),
    ],
)
async def test_a_call_over_grpc_tells_how_it_ended(
    seen: Seen, error: BaseException | None, code: int, status: StatusCode
) -> None:
    """As the breaker would judge it: what isn't its service's failure is no error here either."""

    async def answer(_: Any) -> None:
        if error is not None:
            raise error

    class Service:
        def __mapping__(self) -> dict[str, Handler]:
            return {"/school.S/Get": Handler(answer, Cardinality.UNARY_UNARY, None, None)}

    stream: Any = SimpleNamespace(metadata={"traceparent": PARENT})
    handler = traced_service(Service()).__mapping__()["/school.S/Get"]
    with nullcontext() if error is None else pytest.raises(type(error)):
        await handler.func(stream)
    (span,) = seen.spans
    assert (span.attributes or {})["rpc.grpc.status_code"] == code
    assert span.status.status_code is status
    assert f"{span.context.trace_id:032x}" == TRACE
    assert "hush" not in span.to_json()


async def test_what_asks_all_the_time_leaves_no_spans(seen: Seen, mock_clock: MockClock) -> None:
    async with open_in_process_stack() as stack:
        for path in ("/health", "/livez", "/readyz", "/metrics"):
            assert (await stack.client.get(path)).status_code == 200
        for path in ("/health", "/livez", "/readyz", "/metrics", "/breakers"):
            for line in stack.lines.values():
                await line.handle_async_request(httpx.Request("GET", f"http://it{path}"))
    # The gateway gets the keys meanwhile.
    assert {span.name for span in seen.spans} <= {"GET /.well-known/jwks.json"}


async def test_off_means_nothing_is_wrapped(mock_clock: MockClock) -> None:
    """The very objects come back: whoever doesn't trace doesn't pay."""
    async with open_panel() as panel, open_in_process_stack() as stack:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        assert tracing.traced_breaker(breaker) is breaker
        line = stack.lines["auth"]
        assert tracing.traced_transport(line) is line
        assert tracing.traced_app(line) is line
        assert tracing.exemplar_labels() is None
        stack.client.headers["traceparent"] = PARENT
        assert (await stack.login()).status_code == 401
