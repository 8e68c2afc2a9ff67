"""The wait of an adaptive breaker, its probes, and the ramp after them."""

from __future__ import annotations

import pytest

from actors import Adaptive, Backoff, Outcome, Permit, Rejection, RejectReason, State
from actors.machine.slow_start import FIRST_LIMIT, PATIENCE, SlowStart
from tests.actors.policy.adaptive.breakers import Breaker


def opened(gap: float = 1.0, **policy: object) -> Breaker:
    """A breaker that has just opened, at a rate of 1 / gap."""
    breaker = Breaker(gap, **policy)  # type: ignore[arg-type]
    breaker.good(round(100 / gap))
    while breaker.state is State.CLOSED:
        breaker.bad(1)
    breaker.machine.drain()
    return breaker


def closed_again(gap: float = 0.01) -> Breaker:
    """A breaker that has just closed after an outage."""
    breaker = opened(gap)
    breaker.until_half_open()
    for _ in range(2):
        breaker.settle(breaker.admit())
    assert breaker.state is State.CLOSED
    return breaker


def test_the_wait_is_its_own() -> None:
    waits = [opened(reset_timeout=timeout).until_half_open() for timeout in (0.5, 60.0, 3600.0)]
    assert len(set(waits)) == 1


def test_the_wait_grows_with_the_age_of_the_outage_and_is_bound_by_probings_share() -> None:
    breaker = opened(gap=1)
    waits = []
    for _ in range(40):
        waits.append(breaker.until_half_open())
        breaker.settle(breaker.admit(), Outcome.FAILURE)
    assert waits == pytest.approx(sorted(waits))
    assert waits[0] == pytest.approx(3.2, abs=0.3)
    # A twentieth of one call a second.
    assert waits[-1] == pytest.approx(20, rel=0.05)


def test_the_wait_is_shorter_at_a_higher_rate() -> None:
    assert opened(gap=0.02).until_half_open() < opened(gap=1).until_half_open() / 5


def test_the_longest_wait_bounds_that_of_rare_calls() -> None:
    breaker = opened(gap=100)
    for _ in range(5):
        assert breaker.until_half_open() <= 60
        breaker.settle(breaker.admit(), Outcome.FAILURE)
    assert Breaker(gap=100).machine.deadline is None


def test_a_new_breaker_takes_the_traffic_of_the_incident() -> None:
    breaker = Breaker(gap=0.01)
    breaker.bad_until_open()
    assert 0 < breaker.until_half_open() < 1


def test_a_server_lengthens_the_wait() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    for _ in range(6):
        breaker.now += 1
        permit = breaker.admit()
        assert isinstance(permit, Permit)
        breaker.machine.settle(permit, Outcome.FAILURE, breaker.now, retry_after=90)
    assert breaker.until_half_open() == 90


def test_the_maximum_of_the_backoff_holds() -> None:
    breaker = opened(gap=100, reset_timeout=1.0, backoff=Backoff(maximum=7.0))
    assert breaker.until_half_open() == 7


def test_a_command_to_open_starts_a_wait() -> None:
    breaker = Breaker(gap=1)
    breaker.good(100)
    breaker.machine.trip(breaker.now)
    assert breaker.until_half_open() == pytest.approx(0.1)
    breaker.machine.trip(breaker.now)
    breaker.machine.trip(breaker.now + 1)
    assert breaker.machine.deadline is not None
    assert breaker.machine.deadline > breaker.now + 1


def test_one_probe_at_a_time_and_two_successes_close() -> None:
    breaker = opened()
    breaker.until_half_open()
    first = breaker.admit()
    assert isinstance(breaker.admit(), Rejection)
    breaker.settle(first)
    assert breaker.state is State.HALF_OPEN
    breaker.settle(breaker.admit())
    assert breaker.state is State.CLOSED


def test_the_policy_may_want_more_probes() -> None:
    breaker = opened(trip=Adaptive(probes=2), successes_to_close=4)
    breaker.until_half_open()
    for _ in range(3):
        breaker.settle(breaker.admit())
    assert breaker.state is State.HALF_OPEN
    breaker.settle(breaker.admit())
    assert breaker.state is State.CLOSED


def test_a_failed_probe_opens_again() -> None:
    breaker = opened()
    breaker.until_half_open()
    breaker.settle(breaker.admit())
    breaker.settle(breaker.admit(), Outcome.FAILURE)
    assert breaker.state is State.OPEN


def test_after_closing_half_of_the_evidence_opens_until_successes_have_cleared_it() -> None:
    breaker = closed_again(gap=10)
    assert breaker.bad_until_open() == 3
    cleared = closed_again(gap=10)
    cleared.good(4)
    assert cleared.bad_until_open() == 6


def test_admission_grows_while_calls_succeed() -> None:
    breaker = closed_again()
    limits = []
    for _ in range(4):
        permits = []
        while isinstance(permit := breaker.admit(), Permit):
            permits.append(permit)
        assert permit.reason is RejectReason.RAMP
        assert permit.state is State.CLOSED
        assert permit.retry_after == 0.1
        limits.append(len(permits))
        breaker.now += 0.05
        for one in permits:
            breaker.settle(one)
    assert limits == [4, 8, 16, 32]
    assert not breaker.machine.admits_all


def test_the_first_good_round_without_a_rejection_ends_it() -> None:
    breaker = closed_again(gap=10)
    assert not breaker.machine.admits_all
    assert breaker.good(FIRST_LIMIT) == FIRST_LIMIT
    assert breaker.machine.admits_all


def test_an_outage_right_after_closing_is_the_same_incident() -> None:
    breaker = opened(gap=1)
    first = breaker.until_half_open()
    for _ in range(2):
        breaker.settle(breaker.admit())
    breaker.bad(10)
    assert breaker.until_half_open() > first


def test_what_was_limited_isnt_taken_for_the_traffic() -> None:
    breaker = closed_again(gap=0.01)
    before = breaker.learned.traffic
    for _ in range(5):
        breaker.now += 2
        breaker.settle(breaker.admit())
    assert breaker.learned.traffic == before


def test_an_explicit_ramp_takes_the_place_of_its_own() -> None:
    breaker = opened(gap=0.01, ramp=10.0)
    breaker.until_half_open()
    for _ in range(2):
        breaker.settle(breaker.admit())
    rejected = breaker.admit()
    assert isinstance(rejected, Rejection)
    assert rejected.retry_after == pytest.approx(10)
    breaker.machine.wake(breaker.now + 10)
    assert breaker.machine.admits_all


class Ramp:
    """A ramp, and calls through it."""

    def __init__(self, tolerated: float = 0.25, most: float = 0.5) -> None:
        self.ramp = SlowStart(tolerated, most)
        self.number = 0

    def round(self, share: float) -> int:
        """As many calls as are admitted, of which a share fails, and one rejection. The number admitted."""
        admitted = []
        while self.ramp.admit(0.0):
            self.number += 1
            self.ramp.started(self.number, 0.0)
            admitted.append(self.number)
        for place, number in enumerate(admitted):
            bad = (place + 1) * share // 1 > place * share // 1
            self.ramp.ended(number, Outcome.FAILURE if bad else Outcome.SUCCESS)
        return len(admitted)


def test_a_bad_round_halves_the_limit() -> None:
    ramp = Ramp()
    assert [ramp.round(share) for share in (0, 0, 0, 0.6, 0, 0)] == [4, 8, 16, 32, 16, 32]


def test_a_share_that_load_doesnt_cause_is_tolerated() -> None:
    ramp = Ramp()
    assert [ramp.round(0.45) for _ in range(8)][-3:] == [32, 64, 128]


def test_more_than_the_most_is_never_tolerated() -> None:
    ramp = Ramp()
    assert max(ramp.round(0.9) for _ in range(12)) <= 2 * FIRST_LIMIT


def test_neutral_ends_free_the_place_and_say_nothing() -> None:
    ramp = SlowStart(0.25, 0.5)
    for number in range(1, 20):
        ramp.started(number, 0.0)
        assert not ramp.ended(number, Outcome.CANCELLED)
        assert not ramp.ended(number, Outcome.IGNORED)


def test_calls_of_an_earlier_round_dont_count_in_this_one() -> None:
    ramp = SlowStart(0.25, 0.5)
    for number in range(1, 5):
        ramp.started(number, 0.0)
    assert not ramp.admit(0.0)
    ramp.ended(1, Outcome.SUCCESS)
    ramp.started(5, 0.0)
    for number in (2, 3, 4):
        ramp.ended(number, Outcome.SUCCESS)
    for number in range(6, 13):
        ramp.started(number, 0.0)
    # The limit is 8 now, and call 5 is of the round before.
    ramp.ended(5, Outcome.FAILURE)
    for number in range(6, 13):
        assert not ramp.ended(number, Outcome.SUCCESS)
    ramp.started(13, 0.0)
    assert ramp.ended(13, Outcome.SUCCESS)


def test_a_call_that_takes_too_long_gives_its_place_back() -> None:
    breaker = closed_again()
    held = [breaker.admit() for _ in range(FIRST_LIMIT)]
    assert all(isinstance(one, Permit) for one in held)
    assert isinstance(breaker.admit(), Rejection)
    assert breaker.machine.admits_at(breaker.now) == float("inf")
    assert breaker.machine.deadline == breaker.now + PATIENCE
    breaker.now += PATIENCE
    assert breaker.machine.admits_at(breaker.now) == float("inf")
    assert isinstance(breaker.admit(), Permit)
    assert breaker.machine.admits_at(breaker.now) == breaker.now


def test_a_call_that_never_began_gives_its_place_back() -> None:
    breaker = closed_again()
    held = [breaker.admit() for _ in range(FIRST_LIMIT)]
    assert isinstance(held[0], Permit)
    breaker.machine.release(held[0], breaker.now)
    assert isinstance(breaker.admit(), Permit)
    assert isinstance(breaker.admit(), Rejection)
