"""Panel, handle and actor against the reference, under trio's scheduler seeded.

A failure prints policy, schedule and seed: together they are the run, and `@example(...)` with them, or
the `@reproduce_failure` line beside them, replays it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio._core import _run

from actors import (
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    LastCalls,
    Outcome,
    TripStrategy,
)
from tests.actors.model.calls import AnswerRaised, CallIgnored
from tests.actors.model.schedules import ANSWERS, OPERATORS, Moment, Step, examples, policies, schedules
from tests.actors.model.simulation import play, seeded_scheduler


@examples(0.4)
@given(
    policies(calls=True),
    schedules(*OPERATORS, *ANSWERS, "crash", "turn", "turn", at_once=3),
    st.integers(0, 2**16),
)
def test_a_breaker_agrees_with_the_reference(
    config: CircuitBreakerConfig, schedule: list[Moment], seed: int
) -> None:
    """Some order of the callers' steps on the reference gives the same results and counts."""
    play(replace(config, ignore=CallIgnored, answers=AnswerRaised), schedule, seed)


FAIL, SUCCEED = Step("once", outcome=Outcome.FAILURE), Step("once")
EITHER = AnyOf(ConsecutiveFailures(2), FailureCount(3, LastCalls(4)))


@pytest.mark.parametrize(
    ("trip", "taken"),
    [
        pytest.param(
            ConsecutiveFailures(2),
            [(FAIL,), (SUCCEED,), (Step("crash"),), (FAIL,)],
            id="tallied before a crash",
        ),
        pytest.param(
            EITHER,
            [(FAIL,), (SUCCEED,), (FAIL,), (SUCCEED,), (Step("crash"),), (FAIL,)],
            id="a count is no row",
        ),
        pytest.param(
            ConsecutiveFailures(2),
            [(Step("observe"),), (Step("begin"), Step("begin"), Step("disable"))],
            id="admitted just before disabling",
        ),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_schedules_that_went_wrong_once_agree_with_the_reference(
    trip: TripStrategy, taken: list[tuple[Step, ...]], seed: int
) -> None:
    """Schedules that went wrong once."""
    config = CircuitBreakerConfig(
        name="it", trip=trip, call_timeout=3, ignore=CallIgnored, answers=AnswerRaised
    )
    schedule = [Moment(0, steps, look=False) for steps in taken]
    play(config, [*schedule, Moment(5, (Step("begin"),))], seed)


def test_the_scheduler_can_be_seeded() -> None:
    """The private names that the seed relies on are there, and the same seed gives the same order."""
    assert _run._ALLOW_DETERMINISTIC_SCHEDULING in (True, False)
    assert callable(_run._r.seed)

    def order(seed: int) -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                ran.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(note, number)

        with seeded_scheduler(seed):
            trio.run(main)
        return ran

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1


def test_one_seed_gives_one_run() -> None:
    """Callers at once end in the same order every time: a printed failure can be replayed."""
    config = CircuitBreakerConfig(name="it", max_failures=2, ignore=CallIgnored, answers=AnswerRaised)
    schedule = [Moment(0.25, (Step("begin"), Step("once"), Step("trip")))] * 5
    first, again = (play(config, schedule, seed=7).models[0] for _ in range(2))
    assert first.reading(10) == again.reading(10)
