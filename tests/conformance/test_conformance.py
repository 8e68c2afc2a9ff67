"""Every case of the suite, against the machine and against handle with actor in each call style."""

from __future__ import annotations

import re

import pytest
import trio
from trio.testing import MockClock

from tests.conformance.breaker_subject import open_breaker
from tests.conformance.machine_subject import MachineSubject
from tests.conformance.suite import CannotExpressError, Case, DeviationError, load_cases, play, run

CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_machine_conforms(case: Case) -> None:
    """The pure rules; at another time of day than zero, which must not matter."""
    try:
        run(play(case, MachineSubject(case.policy, start=4097.25)))
    except CannotExpressError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("style", ["execute", "guard", "protect"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_breaker_conforms_in_each_call_style(case: Case, style: str) -> None:
    """Handle and actor on a MockClock, in each call style."""
    clock = MockClock()

    async def main() -> None:
        async with open_breaker(case.policy, clock, style) as subject:
            await play(case, subject)

    try:
        trio.run(main, clock=clock)
    except* CannotExpressError as missing:
        assert style != "guard", "a guard can do all of it"
        pytest.skip(str(missing.exceptions[0]))


def test_the_suite_covers_every_strategy_and_window() -> None:
    """Enough cases, each with a name of its own, over every strategy and window."""
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    kinds = set()
    for case in CASES:
        trips = case.policy["trip"].get("of", [case.policy["trip"]])
        kinds |= {(trip["kind"], *({"calls", "seconds"} & trip.keys())) for trip in trips}
    assert kinds == {
        ("consecutive",),
        *(
            (kind, window)
            for kind in ("failure_count", "failure_rate", "slow_rate")
            for window in ("calls", "seconds")
        ),
    }


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"at": 0, "call": "success", "tooks": 1}, "unknown here: tooks"),
        ({"at": 0, "end": "a", "as": "success", "times": 2}, "unknown here: times"),
        ({"at": 0, "call": "success", "inside": "a"}, "unknown here: inside"),
        ({"at": 0, "expect": "rejected"}, "unknown here: expect"),
        ({"at": 0, "call": "success", "begin": "a"}, "two actions in one step, call and begin"),
        ({"call": "success"}, "when?"),
    ],
)
def test_a_step_that_the_suite_would_pass_over_is_refused(step: dict[str, object], said: str) -> None:
    """Before any other step is played."""
    policy = {"trip": {"kind": "consecutive", "n": 5}}
    case = Case("wrong", "a rule", policy, ({"at": 0, "state": "open"}, step))
    with pytest.raises(ValueError, match=f"wrong, step 2: {re.escape(said)}"):
        run(play(case, MachineSubject(case.policy)))


def test_an_unknown_policy_key_is_refused() -> None:
    """A subject that passed over it would pass the case."""
    with pytest.raises(CannotExpressError, match="no unheard_of"):
        MachineSubject({"trip": {"kind": "consecutive", "n": 5}, "unheard_of": 1})


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"at": 0, "call": "success", "expect": "rejected"}, "the call: expected 'rejected', got 'running'"),
        ({"at": 0, "state": "open"}, "state: expected 'open', got 'closed'"),
        ({"at": 0, "retry_after": 3}, "retry_after: expected 3, got None"),
        ({"at": 0, "call": "failure", "failures": 2}, "failures: expected 2, got 1"),
        ({"at": 0, "call": "success", "counts": {"late": 1}}, "the count of late: expected 1, got 0"),
        (
            {"at": 0, "call": "failure", "caller": "succeeded"},
            "what the caller saw: expected 'succeeded', got 'failed'",
        ),
        ({"at": 0, "call": "success", "times": 3, "admitted": 2}, "admitted calls: expected 2, got 3"),
    ],
)
def test_the_runner_notices_a_wrong_expectation(step: dict[str, object], said: str) -> None:
    """A wrong expectation of any kind is reported, with the step and the actual value."""
    case = Case("wrong", "a rule", {"trip": {"kind": "consecutive", "n": 5}}, (step,))
    with pytest.raises(DeviationError, match="wrong, step 1 ") as raised:
        run(play(case, MachineSubject(case.policy)))
    assert said in str(raised.value)
