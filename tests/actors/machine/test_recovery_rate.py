"""half_open_failure_rate: a recovery judged by the share of several probes that failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actors import Machine, Outcome, Rejection, RejectReason, State
from tests.actors.machine.machines import CANCELLED, FAILURE, IGNORED, SUCCESS, C, H, O, W, admitted, machine
from tests.actors.machine.recovering import play, recovering


@pytest.mark.parametrize(
    ("probes", "rate", "outcomes", "after"),
    [
        # Exactly the rate opens, one below it closes.
        (4, 0.5, "--", O),
        (4, 0.5, "+-+-", O),
        (4, 0.5, "++-+", C),
        (4, 0.5, "-+++", C),
        # The breaker closes only when all probes have ended, though the verdict is certain before.
        (4, 0.5, "+++", H),
        (4, 0.5, "++++", C),
        # Divided, not multiplied: 3 of 10 is the float that 0.3 means.
        (10, 0.3, "-" * 2 + "+" * 8, C),
        (10, 0.3, "+" * 7 + "---", O),
        (3, 1 / 3, "-", O),
        (3, 1 / 3, "+++", C),
        # A rate of 1 needs all probes to fail; for a small rate the first failed one is enough.
        (3, 1.0, "--", H),
        (3, 1.0, "--+", C),
        (3, 1.0, "---", O),
        (3, 0.01, "-", O),
        # A single probe is judged as without a rate.
        (1, 0.5, "+", C),
        (1, 1.0, "-", O),
        # Ignored and cancelled probes don't count as ended ones.
        (2, 1.0, "iicc", H),
        (2, 1.0, "i-c+", C),
        (2, 1.0, "i-c-", O),
    ],
)
def test_the_share_of_failed_probes_decides(probes: int, rate: float, outcomes: str, after: State) -> None:
    states = play(recovering(probes, rate), outcomes)
    assert states[-1] is after
    assert set(states[:-1]) <= {H}


def test_a_rate_overrides_successes_to_close() -> None:
    assert play(recovering(3, 1.0, successes_to_close=1), "+") == [H]
    assert play(recovering(2, 1.0, successes_to_close=9), "++") == [H, C]


@pytest.mark.parametrize("ended", ["", "+", "+-", "+++"])
def test_only_as_many_probes_are_admitted_as_are_judged(ended: str) -> None:
    """Running probes and ended probes count together."""
    it = recovering(4, 1.0)
    play(it, ended)
    for _ in range(4 - len(ended)):
        admitted(it)
    refused = it.admit(0)
    assert isinstance(refused, Rejection)
    assert refused.reason == RejectReason.PROBING
    assert refused.retry_after == 1.0


@pytest.mark.parametrize("outcome", [IGNORED, CANCELLED])
def test_a_neutral_probe_frees_its_place(outcome: Outcome) -> None:
    it = recovering(2)
    first, _ = admitted(it), admitted(it)
    assert not it.admit(0)
    it.settle(first, outcome, 0)
    admitted(it)
    assert not it.admit(0)


def test_a_released_probe_frees_its_place() -> None:
    it = recovering(1)
    it.release(admitted(it), 0)
    assert play(it, "+") == [C]


def test_probes_that_still_run_at_the_opening_are_late() -> None:
    it = recovering(4)
    first, second, third, fourth = (admitted(it) for _ in range(4))
    it.settle(first, FAILURE, 0)
    assert it.settle(second, FAILURE, 0)
    assert it.state is O
    assert not it.settle(third, SUCCESS, 0)
    assert not it.settle(fourth, FAILURE, 0)
    assert it.state is O
    assert it.snapshot(0).late == 2


def test_a_failed_recovery_lengthens_the_wait_and_a_good_one_resets_it() -> None:
    it = recovering(2, 0.5, reset_timeout=60)
    play(it, "+-")
    assert it.snapshot(0).retry_after == 60
    it = recovering(2, 1.0)
    it.configure(replace(it.config, backoff=replace(it.config.backoff, factor=2)), 0)
    play(it, "--")
    assert it.snapshot(0).retry_after == 120
    it.wake(120)
    assert play(it, "-+", 120) == [H, C]
    it.trip(120)
    assert it.snapshot(120).retry_after == 60


def test_the_ramp_begins_after_a_good_recovery() -> None:
    it = recovering(2, 1.0, ramp=10)
    assert play(it, "-+", 5) == [H, C]
    refused = it.admit(5)
    assert isinstance(refused, Rejection)
    assert refused.reason == RejectReason.RAMP
    assert refused.retry_after == 10


# A new policy during a recovery.


def configured(it: Machine, **changes: object) -> State:
    it.configure(replace(it.config, **changes), 0)  # type: ignore[arg-type]
    return it.state


@pytest.mark.parametrize(
    ("ended", "changes", "after"),
    [
        # If the new limit is below the number of ended probes, they are judged at once, by their share.
        ("+++", {"half_open_max_calls": 3}, C),
        ("++-", {"half_open_max_calls": 1, "half_open_failure_rate": 1 / 3}, O),
        ("++-", {"half_open_max_calls": 1, "half_open_failure_rate": 0.34}, C),
        ("+++", {"half_open_max_calls": 1}, C),
        ("+++", {"half_open_max_calls": 9}, H),
        # A new rate judges them at once, too.
        ("+-", {"half_open_failure_rate": 0.25}, O),
        ("+-", {"half_open_failure_rate": 0.26}, H),
        # Once the rate is removed, the earlier failure decides nothing; the next verdict does.
        ("+-", {"half_open_failure_rate": None}, H),
    ],
)
def test_a_new_policy_judges_the_probes_that_have_ended(
    ended: str, changes: dict[str, object], after: State
) -> None:
    it = recovering(4, 0.6)
    play(it, ended)
    assert configured(it, **changes) is after


def test_a_newly_configured_rate_judges_earlier_probes_too() -> None:
    it = machine(H, half_open_max_calls=3, successes_to_close=3)
    play(it, "++")
    assert configured(it, half_open_failure_rate=0.5) is H
    assert play(it, "-") == [C]


@pytest.mark.parametrize(("outcome", "after"), [("+", C), ("-", O)])
def test_without_the_rate_the_next_probe_decides(outcome: str, after: State) -> None:
    it = recovering(4, 1.0)
    play(it, "-")
    configured(it, half_open_failure_rate=None)
    assert play(it, outcome) == [after]


def test_no_call_is_admitted_if_more_probes_run_than_there_are_places() -> None:
    it = recovering(4, 1.0)
    running = [admitted(it) for _ in range(4)]
    assert configured(it, half_open_max_calls=2) is H
    assert not it.admit(0)
    it.settle(running[0], FAILURE, 0)
    it.settle(running[1], SUCCESS, 0)
    assert it.state is C


# Observing.


def test_an_observing_machine_judges_by_the_rate_too() -> None:
    it = machine(W, max_failures=1, half_open_max_calls=2, half_open_failure_rate=1.0, reset_timeout=10)
    play(it, "-", 0)
    play(it, "-", 10)
    play(it, "+", 11)
    assert [event.new for event in it.drain()] == [O, H, C]


def test_an_observing_machines_probe_that_breaks_later_has_failed() -> None:
    """The machine's permit numbers aren't the shadow's: calls that the shadow would reject have one, too."""
    it = machine(W, max_failures=1, half_open_max_calls=2, half_open_failure_rate=1.0, reset_timeout=10)
    play(it, "-++", 0)
    first, second = admitted(it, 10), admitted(it, 10)
    rejected = admitted(it, 10)
    assert it.snapshot(10).would_reject == 3
    it.settle(rejected, SUCCESS, 10)
    it.fail_again(rejected, 10)
    it.settle(first, SUCCESS, 10)
    it.fail_again(first, 10)
    assert [event.new for event in it.drain()] == [O, H]
    it.settle(second, FAILURE, 10)
    assert [event.new for event in it.drain()] == [O]
