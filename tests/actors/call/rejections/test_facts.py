"""The facts that a rejection has, for each reason and in every call style."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors import BulkheadFullError, CircuitOpenError, Panel, RejectReason, State
from actors.testing import ScriptedDependency
from tests.actors.call.rejections.rejecting import OPEN, Rejecting, is_full, opened, rejection
from tests.actors.styles import Style, in_every_style


@in_every_style
@pytest.mark.parametrize("rejecting", OPEN, ids=lambda one: one.__name__)
async def test_an_open_breakers_rejection_has_all_facts(
    panel: Panel, running: trio.Nursery, autojump_clock: MockClock, call: Style, rejecting: Rejecting
) -> None:
    breaker = await rejecting(panel, running)
    if call.__name__ == "execute_or":
        assert await call(breaker, ScriptedDependency()) == OPEN[rejecting][-1]
        return
    error = await rejection(call, breaker)
    assert isinstance(error, CircuitOpenError)
    seen = error.state, error.retry_after, error.reason, error.last_failure, error.open_for, str(error)
    assert seen == OPEN[rejecting]
    assert error.name == "it"
    assert type(error.state) is State
    assert type(error.reason) is RejectReason
    assert error.__cause__ is None
    assert error.__context__ is None


@in_every_style
async def test_a_full_bulkheads_rejection_has_all_facts(
    panel: Panel, running: trio.Nursery, autojump_clock: MockClock, call: Style
) -> None:
    breaker = await is_full(panel, running)
    if call.__name__ == "execute_or":
        assert (
            await call(breaker, ScriptedDependency()) == "circuit breaker 'it': 1 calls are running already"
        )
        return
    error = await rejection(call, breaker)
    assert isinstance(error, BulkheadFullError)
    assert error.name == "it"
    assert error.retry_after == 1.0
    assert error.reason is RejectReason.BULKHEAD
    assert error.waits_for == "a free place"
    assert str(error) == "circuit breaker 'it': 1 calls are running already"


async def test_a_fallback_is_given_the_rejection(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = await opened(panel)
    error = await breaker.execute_or(lambda error: error, trio.sleep, 0)
    assert type(error) is CircuitOpenError
    assert str(error).partition(" for ")[0] == "circuit breaker 'it' is OPEN"


@pytest.mark.parametrize("reason", RejectReason)
def test_each_reason_says_what_the_breaker_waits_for(reason: RejectReason) -> None:
    assert len(CircuitOpenError("it", State.OPEN, 1.0, reason).waits_for) > 5
