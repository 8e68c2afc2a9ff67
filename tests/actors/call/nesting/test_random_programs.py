"""Random programs see the same with their nested calls as without them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors import FailureCount, LastSeconds
from tests.actors.call.nesting.programs import Nested, Reading, programs, run
from tests.actors.model.schedules import examples

HOLDING: dict[str, Any] = {"failure_result": lambda value: value == "bad", "max_failures": 2}
COUNTING: dict[str, Any] = {"trip": FailureCount(2, LastSeconds(10.0))}


@examples(0.2)
@given(programs(commands=True, children=True, swallows=True), st.booleans())
def test_nested_calls_do_not_change_what_callers_and_snapshots_see(
    program: list[Nested], beside: bool
) -> None:
    """With this policy, each call style has a guard."""
    nested, direct = (run(program, HOLDING, beside=beside, directly=way) for way in (False, True))
    assert _comparable(nested) == _comparable(direct)


@examples(0.2)
@given(programs(commands=True, swallows=True) | programs(children=True), st.booleans())
def test_calls_nested_in_fast_calls_change_no_state_and_count_no_failure(
    program: list[Nested], beside: bool
) -> None:
    """Successes, and swallowed failures in child tasks, do count here."""
    nested, direct = (run(program, COUNTING, beside=beside, directly=way) for way in (False, True))
    assert nested[0] == direct[0]
    for mine, other in zip(nested[1], direct[1], strict=True):
        assert mine.state == other.state
        assert mine.failure_count == other.failure_count
        assert mine.counts["failure"] == other.counts["failure"]
        assert mine.in_flight == other.in_flight


def _comparable(reading: Reading) -> tuple[list[str], list[tuple[Any, ...]]]:
    seen, snapshots = reading
    return seen, [
        (one.state, one.failure_count, one.counts, one.in_flight, one.late, one.generation, one.transitions)
        for one in snapshots
    ]
