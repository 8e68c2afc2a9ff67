"""Spans in memory, and every style of a traced call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from actors import CircuitBreaker, Source

Style = Callable[..., Awaitable[Any]]


class Spans:
    """The spans that have ended, and the tracer that begins them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def one(self) -> ReadableSpan:
        (span,) = self.ended
        return span


def event_names(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("circuit_breaker.") for event in span.events]


def status_of(span: ReadableSpan) -> tuple[StatusCode, object]:
    return span.status.status_code, (span.attributes or {}).get("error.type")


UNSET = (StatusCode.UNSET, None)


async def by_execute(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    return await breaker.execute(fn, *args)


async def by_execute_or(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    def no_fallback(error: Exception) -> None:
        raise error

    return await breaker.execute_or(no_fallback, fn, *args)


async def by_guard(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    async with breaker.guard(source=Source("client", "route")) as call:
        result = await fn(*args)
        call.returned(result)
    return result


async def by_protect(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    return await breaker.protect(fn)(*args)


STYLES = (by_execute, by_execute_or, by_guard, by_protect)
each_style = pytest.mark.parametrize("call", STYLES)


async def number(n: int) -> int:
    await trio.lowlevel.checkpoint()
    return n


async def failing(n: int = 0) -> int:
    await trio.lowlevel.checkpoint()
    raise ValueError(f"hush {n}")


def attributes_of(span: ReadableSpan) -> dict[str, dict[str, object]]:
    return {event.name: dict(event.attributes or {}) for event in span.events}
