"""Functions that a traced breaker protects."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from actors import CircuitBreakerConfig, Panel
from actors.adapters.tracing import traced
from tests.actors.adapters.tracing.spans import Spans, number


async def test_a_protected_function_keeps_name_document_and_signature(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)

    @breaker.protect
    async def find(school: str, /, limit: int = 3, *, deep: bool = False) -> tuple[str, int, bool]:
        """Find it."""
        return school, limit, deep

    assert (find.__name__, find.__doc__) == ("find", "Find it.")
    assert str(inspect.signature(find)) == (
        "(school: 'str', /, limit: 'int' = 3, *, deep: 'bool' = False) -> 'tuple[str, int, bool]'"
    )
    assert inspect.iscoroutinefunction(find)
    assert await find("a") == ("a", 3, False)
    assert await find("a", limit=4, deep=True) == ("a", 4, True)
    assert len(spans.ended) == 2


async def test_a_call_with_wrong_arguments_has_no_span(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    protected: Any = breaker.protect(number)
    for args, kwargs in [((), {}), ((1, 2), {}), ((1,), {"m": 2})]:
        with pytest.raises(TypeError):
            await protected(*args, **kwargs)
    assert spans.ended == []
    assert not any((await breaker.snapshot()).counts.values())


async def test_protect_refuses_a_function_that_is_not_async(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    unreadable: Any = dict
    with pytest.raises(TypeError, match="async"):
        breaker.protect(unreadable)
