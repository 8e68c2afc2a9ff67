"""Spans of single calls: through a breaker, over HTTP, over gRPC, and to an app."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import trio
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from opentelemetry.trace import StatusCode
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
from tests.spans import Seen
from tests.world.tracing.traces import PARENT, TRACE, events


async def test_a_cancelled_call_has_a_cancelled_event(seen: Seen, mock_clock: MockClock) -> None:
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
    """The policy's rules for results, errors and timeouts also hold with spans."""
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


async def test_a_transition_by_others_is_no_event_of_a_call(seen: Seen) -> None:
    async with open_panel() as panel:
        breaker = tracing.traced_breaker(panel.breaker(CircuitBreakerConfig(name="it")))
        async with breaker.guard():
            await breaker.trip()
    assert [events(span) for span in seen.spans] == [["admitted"]]


async def test_an_invalid_trace_of_a_client_is_replaced(seen: Seen) -> None:
    """Its tracestate would be taken for a part of the new trace."""
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
async def test_a_failed_call_has_address_port_and_error_type(seen: Seen, url: str, port: int) -> None:
    """No query, and none of the error's text."""

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


async def test_a_failed_app_has_the_type_of_its_error_and_no_text(seen: Seen) -> None:
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
async def test_a_grpc_call_has_its_status_and_is_an_error_only_if_the_service_failed(
    seen: Seen, error: BaseException | None, code: int, status: StatusCode
) -> None:
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
