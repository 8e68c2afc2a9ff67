"""When an adaptive breaker opens, and its evidence while it is closed."""

from __future__ import annotations

import math
import random

import pytest

from actors import Adaptive, Outcome, State
from actors.policy.learning.sequential import UNIT, break_even, success_weight, threshold
from tests.actors.policy.adaptive.breakers import Breaker


def test_a_dependency_that_is_dead_from_the_start_gets_seven_calls() -> None:
    breaker = Breaker(gap=10)
    assert breaker.bad_until_open() == 7
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("healthy", [10, 100, 1000])
def test_one_that_dies_later_gets_six(healthy: int) -> None:
    breaker = Breaker(gap=10)
    breaker.good(healthy)
    assert breaker.bad_until_open() == 6


def test_the_parameter_says_how_many() -> None:
    breaker = Breaker(gap=10, trip=Adaptive(failures=9))
    breaker.good(100)
    assert breaker.bad_until_open() == 9


def test_a_success_takes_about_a_failure_back() -> None:
    breaker = Breaker(gap=10)
    breaker.good(200)
    breaker.bad(5)
    breaker.good(2)
    assert breaker.learned.evidence == pytest.approx(3, abs=0.1)
    assert breaker.bad_until_open() == 4


def test_at_a_high_rate_a_row_of_failures_shorter_than_the_blip_is_tolerated() -> None:
    breaker = Breaker(gap=0.01)
    breaker.good(1000)
    assert breaker.learned.traffic == pytest.approx(100, rel=0.03)
    assert breaker.learned.threshold == pytest.approx(40, abs=1)
    breaker.bad(35)
    breaker.good(100)
    assert breaker.state is State.CLOSED
    assert breaker.bad_until_open() == pytest.approx(41, abs=1)


def test_quick_failures_that_end_before_the_first_successes_open_no_new_breaker() -> None:
    """Two of five calls fail in a moment, and a success takes a fifth of a second."""
    breaker = Breaker(gap=0.001)
    permits = [breaker.admit() for _ in range(500)]
    for _ in range(80):
        breaker.now += 0.0025
        breaker.settle(permits.pop(), Outcome.FAILURE)
    assert breaker.state is State.CLOSED
    for _ in range(60):
        breaker.now += 0.001
        breaker.settle(permits.pop())
    assert breaker.learned.evidence == 0


@pytest.mark.parametrize(("gap", "calls"), [(0.0625, 8), (1.0, 7)])
def test_a_new_breaker_tolerates_a_blip_by_its_time(gap: float, calls: int) -> None:
    """Seven failures at least, and those of 0.4 s."""
    assert Breaker(gap=gap).bad_until_open() == calls


def test_a_high_rate_is_tolerated_before_it_is_known() -> None:
    breaker = Breaker(gap=0.001)
    breaker.good(400)
    assert breaker.learned.traffic is None
    breaker.bad(100)
    assert breaker.state is State.CLOSED


def test_a_share_that_is_usual_becomes_the_baseline_and_raises_the_threshold() -> None:
    breaker = Breaker(gap=1)
    breaker.good(50)
    steady = breaker.learned.threshold
    breaker.mixed(2000, every=3)
    assert breaker.state is State.CLOSED
    assert breaker.learned.usual == pytest.approx(1 / 3, abs=0.02)
    assert breaker.learned.threshold > 2 * steady


def test_a_new_breaker_bears_a_usual_share_of_four_in_ten() -> None:
    opened = 0
    for seed in range(40):
        dice, breaker = random.Random(seed), Breaker(gap=1)
        for _ in range(500):
            breaker.call(Outcome.FAILURE if dice.random() < 0.4 else Outcome.SUCCESS)
            opened += breaker.state is State.OPEN
            if breaker.state is State.OPEN:
                break
    assert opened <= 4


def test_a_third_failing_where_a_percent_is_usual_is_tolerated_and_four_fifths_are_not() -> None:
    breaker = Breaker(gap=1)
    breaker.mixed(1000, every=100)
    breaker.mixed(300, every=3)
    assert breaker.state is State.CLOSED
    dice = random.Random(1)
    for _ in range(60):
        breaker.call(Outcome.FAILURE if dice.random() < 0.8 else Outcome.SUCCESS)
    assert breaker.state is not State.CLOSED


def test_an_incident_isnt_learned() -> None:
    breaker = Breaker(gap=1)
    breaker.mixed(1000, every=100)
    before = breaker.learned.usual
    breaker.bad(20)
    assert breaker.state is State.OPEN
    assert breaker.learned.usual == before
    breaker.machine.reset(breaker.now)
    breaker.good(3)
    assert breaker.learned.usual == pytest.approx(before, abs=0.001)


def test_failures_before_an_opening_by_others_arent_learned() -> None:
    # As by an operator, or by breakers of other instances.
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.bad(5)
    breaker.machine.trip(breaker.now, "opened by sharing")
    breaker.machine.reset(breaker.now)
    assert breaker.learned.evidence == 0
    breaker.good(100)
    assert breaker.learned.usual is not None
    assert breaker.learned.usual < 0.03


def test_a_row_that_ends_without_opening_is_learned() -> None:
    breaker = Breaker(gap=1)
    breaker.good(400)
    before = breaker.learned.usual
    assert before is not None
    breaker.bad(4)
    assert breaker.learned.usual == pytest.approx(before, abs=0.0001)
    breaker.good(6)
    after = breaker.learned.usual
    assert after is not None
    assert after > before + 0.005


def test_rejections_change_nothing() -> None:
    breaker = Breaker(gap=0.001)
    breaker.good(3000)
    breaker.bad(3000)
    assert breaker.state in (State.OPEN, State.HALF_OPEN)
    before = breaker.learned
    for _ in range(50):
        breaker.machine.admit(breaker.now)
    assert breaker.learned == before


def test_the_reason_says_what_failed_and_what_is_usual() -> None:
    breaker = Breaker(gap=10)
    breaker.mixed(1000, every=100)
    for _ in range(4):
        breaker.bad(2)
        breaker.good(1)
    breaker.bad_until_open()
    [opened] = breaker.machine.drain()
    assert opened.reason == "73 % of the last 15 calls failed; usual is 1 %"
    assert breaker.machine.snapshot(breaker.now).last_reason == opened.reason


def test_a_new_breaker_says_only_what_failed() -> None:
    breaker = Breaker(gap=10)
    breaker.bad(7)
    [opened] = breaker.machine.drain()
    assert opened.reason == "100 % of the last 7 calls failed"


def test_nothing_is_known_at_first() -> None:
    assert Breaker().learned._replace(threshold=0) == (None, None, 0, 0)


def test_neutral_outcomes_arent_evidence() -> None:
    breaker = Breaker(gap=1)
    breaker.good(10)
    before = breaker.learned
    for outcome in (Outcome.IGNORED, Outcome.CANCELLED):
        for _ in range(30):
            breaker.call(outcome)
    assert breaker.learned == before


def test_after_an_idle_hour_the_traffic_is_low() -> None:
    breaker = Breaker(gap=0.01)
    breaker.good(2000)
    breaker.now += 3600
    breaker.gap = 10
    breaker.good(3)
    traffic = breaker.learned.traffic
    assert traffic is not None
    assert traffic < 1


@pytest.mark.parametrize("usual", [0.002, 0.01, 0.08, 0.3])
def test_the_threshold_is_exceeded_as_rarely_as_it_says(usual: float) -> None:
    dice, tolerance, confidence = random.Random(5), 0.5, 6.0
    weight, most = success_weight(usual, tolerance), threshold(usual, tolerance, confidence) * UNIT
    calls, reached, evidence = 200_000, 0, 0
    for _ in range(calls):
        if dice.random() < usual:
            evidence += UNIT
            if evidence >= most:
                reached += 1
                evidence = 0
        else:
            evidence = max(0, evidence - weight)
    assert reached <= 1.1 * calls * math.exp(-confidence)
    assert reached > 0 or usual < 0.05


def test_at_the_break_even_share_evidence_neither_rises_nor_falls() -> None:
    for usual in (0.01, 0.1, 0.4):
        even = break_even(usual, 0.5)
        assert even * UNIT == pytest.approx((1 - even) * success_weight(usual, 0.5), rel=0.02)
    assert break_even(0.4, 0.5) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"failures": 0}, "Adaptive.failures must be a whole number of at least 1, got 0"),
        ({"blip": -1}, "Adaptive.blip must be a number at least 0, got -1"),
        ({"tolerance": 1.0}, "Adaptive.tolerance must be a number at least 0.1 and at most 0.9, got 1.0"),
        ({"probing": 0}, "Adaptive.probing must be a number above 0 and at most 1, got 0"),
        ({"longest_wait": 0}, "Adaptive.longest_wait must be a number above 0, got 0"),
        ({"probes": 0}, "Adaptive.probes must be a whole number of at least 1, got 0"),
        ({"memory": 0}, "Adaptive.memory must be a number above 0, got 0"),
    ],
)
def test_values_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Adaptive(**values)  # type: ignore[arg-type]
