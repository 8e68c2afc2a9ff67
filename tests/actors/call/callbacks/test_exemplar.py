"""The exemplar callback of a panel: its exceptions, and the context in which it is called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CallTimeout, CircuitBreakerConfig, FailureRate, LastCalls, Panel, State, open_panel
from tests.actors.call.callbacks.ends import (
    ENDS,
    REQUEST,
    answers,
    end_of,
    policy,
    raises,
    reported,
    times_out,
)
from tests.actors.styles import Style, in_every_style


def raises_anew(kinds: list[type[Exception]]) -> Callable[[], Any]:
    def callback() -> Any:
        raise kinds.pop(0)

    return callback


@in_every_style
@pytest.mark.parametrize("fn", ENDS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize(
    "fields",
    [{}, {"call_timeout": 5}, {"trip": FailureRate(1, LastCalls(99), 99)}, {"max_concurrent": 9}],
    ids=["plain", "call_timeout", "rate", "bulkhead"],
)
async def test_an_exemplar_that_raises_loses_no_call(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, call: Style, fn: Any, fields: dict[str, Any]
) -> None:
    outcome, end = ENDS[fn]
    if fn is times_out and "call_timeout" not in fields:
        outcome, end = "success", "too late"
    async with open_panel(durations=(1,), exemplar=raises) as panel:
        breaker = panel.breaker(policy(ignore=LookupError, **fields))
        for _ in range(3):
            assert await end_of(call, breaker, fn) == end
        snapshot = await breaker.snapshot()
        assert {kind: count for kind, count in snapshot.counts.items() if count} == {outcome: 3}
        assert snapshot.in_flight == 0
        assert snapshot.restarts == 0
        assert snapshot.state is State.CLOSED
        assert snapshot.durations is not None
        assert sum(snapshot.durations.counts) == 3
        assert snapshot.durations.exemplars == {}
    assert reported(caplog) == ["exemplar raised; the call is counted without one"]


async def test_an_exemplar_that_raises_is_logged_once_per_type_for_all_breakers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [KeyError, OSError, KeyError, KeyError, OSError, ValueError]
    async with open_panel(durations=(1,), exemplar=raises_anew(kinds)) as panel:
        for name in ("a", "b"):
            for _ in range(3):
                await panel.breaker(CircuitBreakerConfig(name=name)).execute(answers)
    assert kinds == []
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        KeyError, OSError, ValueError,
    ]  # fmt: skip


async def test_an_exemplar_that_raises_harms_neither_an_early_success_nor_an_own_probe(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_panel(durations=(1,), exemplar=raises) as panel:
        breaker = panel.breaker(policy(probe=answers))
        async with breaker.guard() as call:
            call.succeed()
        await breaker.trip()
        await trio.sleep(61)
        snapshot = await breaker.snapshot()
    assert snapshot.state is State.CLOSED
    assert snapshot.counts["success"] == 2
    assert snapshot.in_flight == 0
    assert len(reported(caplog)) == 1


@in_every_style
@pytest.mark.parametrize("fn", ENDS, ids=lambda fn: fn.__name__)
async def test_an_exemplar_is_called_in_the_callers_context(
    autojump_clock: MockClock, call: Style, fn: Any
) -> None:
    """Also if the breaker ends the call. Variables that the caller has set are seen."""
    async with open_panel(durations=(1,), exemplar=lambda: {"request": REQUEST.get()}) as panel:
        breaker = panel.breaker(policy(ignore=LookupError, call_timeout=5))

        async def one(request: str) -> None:
            REQUEST.set(request)
            await end_of(call, breaker, fn)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "second")
        durations = (await breaker.snapshot()).durations
    assert durations is not None
    assert [exemplar.labels for exemplar in durations.exemplars.values()] == [{"request": "second"}]


async def test_an_exemplar_of_a_timed_out_call_does_not_change_the_callers_context(
    panel: Panel, autojump_clock: MockClock
) -> None:
    def sets() -> dict[str, str]:
        REQUEST.set("the callback's")
        return {"request": "it"}

    async with open_panel(durations=(1,), exemplar=sets) as panel:
        with suppress(CallTimeout):
            await panel.breaker(policy(call_timeout=5)).execute(times_out)
        assert REQUEST.get() == "none"
