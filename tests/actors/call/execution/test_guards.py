"""Guarded blocks: one call each, with verdicts given inside of the block."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import Outcome, Panel, State
from actors.testing import DependencyDown, advance
from tests.actors.call.breakers import new_breaker, outcome_counts


async def test_a_guarded_block_counts_as_one_call(panel: Panel) -> None:
    breaker = new_breaker(panel, max_failures=2)
    async with breaker.guard():
        pass
    with pytest.raises(DependencyDown):
        async with breaker.guard():
            raise DependencyDown
    async with breaker.guard() as call:
        call.fail("said so")
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.OPEN
    assert snapshot.last_failure == "said so"
    assert snapshot.counts["success"] == 1


async def test_ignore_makes_a_guarded_block_that_raises_neutral(panel: Panel) -> None:
    breaker = new_breaker(panel, max_failures=1)
    with pytest.raises(DependencyDown):
        async with breaker.guard() as call:
            call.ignore()
            raise DependencyDown
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).counts["ignored"] == 1


@pytest.mark.parametrize("fields", [{}, {"call_timeout": 5}])
async def test_succeed_closes_the_breaker_and_a_later_failure_counts_once_more(
    panel: Panel, mock_clock: MockClock, fields: dict[str, float]
) -> None:
    breaker = new_breaker(panel, max_failures=1, **fields)
    await breaker.trip()
    await advance(mock_clock, 60)
    async with breaker.guard() as call:
        call.succeed()
        await wait_all_tasks_blocked()
        assert breaker.state is State.CLOSED
        await advance(mock_clock, 60)
    assert (await breaker.snapshot()).counts["success"] == 1
    async with breaker.guard() as call:
        call.succeed()
        call.fail("broke off")
    assert breaker.state is State.OPEN
    assert (await breaker.snapshot()).in_flight == 0


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
async def test_accept_makes_a_guarded_block_that_raises_a_success(
    panel: Panel, mock_clock: MockClock, state: State
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    if state is State.HALF_OPEN:
        await breaker.trip()
        await advance(mock_clock, 60)
    with pytest.raises(OSError, match="well enough"):
        async with breaker.guard() as call:
            call.accept()
            raise OSError("well enough")
    assert breaker.state is State.CLOSED
    assert call.outcome is Outcome.SUCCESS
    assert await outcome_counts(breaker) == {"success": 1}


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["accept", "fail"], Outcome.FAILURE),
        (["fail", "accept"], Outcome.SUCCESS),
        (["ignore", "accept"], Outcome.SUCCESS),
        (["accept", "ignore"], Outcome.IGNORED),
    ],
)
async def test_the_last_verdict_of_a_guard_counts(
    panel: Panel, verdicts: list[str], outcome: Outcome
) -> None:
    breaker = new_breaker(panel)
    with suppress(OSError):
        async with breaker.guard() as call:
            for verdict in verdicts:
                getattr(call, verdict)()
            raise OSError
    assert await outcome_counts(breaker) == {outcome.value: 1}


async def test_a_cancelled_guard_counts_as_cancelled_after_accept(panel: Panel) -> None:
    breaker = new_breaker(panel)
    with trio.move_on_after(0):
        async with breaker.guard() as call:
            call.accept()
            await trio.sleep_forever()
    assert await outcome_counts(breaker) == {"cancelled": 1}
