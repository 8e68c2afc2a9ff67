"""One breaker's link and the lease: when it requests one, a holder's rights, and reports of a probe's end."""

from __future__ import annotations

import pytest

from actors import State, Transition
from actors.commands import AdoptClosed, GiveBack, GrantProbe
from actors.machine.half_open import GIVEN_BACK, UNUSED_LEASE
from actors.sharing.link import CLOSED_ELSEWHERE, KEEP, LEASE_SHARE
from actors.sharing.requests import AcquireLease, Leave, ProbeResult, ReleaseLease, Report
from tests.actors.sharing.links import (
    FOLLOWS,
    GRANTED,
    MAY_PROBE,
    NOTHING,
    OPEN,
    OPENED,
    PROBES,
    QUIET,
    ends,
    holder,
    link,
    open_link,
)


def test_a_lease_is_asked_for_when_the_wait_is_over_and_a_call_waits() -> None:
    one = link()
    assert one.acquires(FOLLOWS, 0.0) is None  # it isn't open for all
    one.requests(FOLLOWS, 0.0)
    one.learn(OPENED, FOLLOWS, 0.0)
    assert one.acquires(FOLLOWS, 5.0) is None
    assert one.acquires(FOLLOWS, 5.01) == AcquireLease("me", 10_000, False)
    assert one.acquires(OPEN, 5.01) is None  # its own opening waits by itself
    one.requests(FOLLOWS._replace(rejections=1), 5.02)
    assert one.acquires(FOLLOWS, 5.02) == AcquireLease("me", 10_000, True)


def test_an_instance_has_callers_for_a_poll_s_time_after_the_last() -> None:
    one = open_link()
    waits = FOLLOWS._replace(rejections=1)
    for now, has_callers in ((1.0, True), (1.1, True), (2.0, True), (2.01, False)):
        one.requests(waits, now)
        assert one.acquires(waits, now) == AcquireLease("me", 10_000, has_callers)


def test_an_instance_without_callers_asks_for_no_lease_that_another_holds() -> None:
    one = open_link()
    one.learn(MAY_PROBE._replace(held=True), FOLLOWS, 1.0)
    assert one.acquires(FOLLOWS, 1.0) is None
    one.requests(FOLLOWS._replace(wants_probe=True), 1.0)
    assert one.acquires(FOLLOWS, 1.0) == AcquireLease("me", 10_000, True)


def test_the_holder_counts_nine_tenths_from_before_it_asked() -> None:
    one = open_link()
    commands = one.learn_lease(GRANTED._replace(attempt=2), FOLLOWS, now=3.0, asked=2.5)
    assert commands == [GrantProbe(2.5 + LEASE_SHARE * 10.0 - 3.0, 2)]
    assert one.has_lease
    assert one.generation == 101


def test_a_lease_that_came_too_late_is_given_back() -> None:
    one = open_link()
    assert one.learn_lease(GRANTED, FOLLOWS, now=9.0, asked=0.0) == []
    assert one.requests(FOLLOWS, 9.0)[0] == ReleaseLease("me", 101)
    assert not one.has_lease


def test_a_holder_keeps_an_unused_lease_unless_it_is_wanted() -> None:
    one = holder()
    assert one.acquires(PROBES, 5.0) == AcquireLease("me", 10_000, False)
    assert one.acquires(PROBES._replace(is_probing=True), 5.0) is None
    assert one.learn_lease(GRANTED, PROBES, 5.0, 5.0) == [GrantProbe(9.0, 0)]
    refused = GRANTED._replace(accepted=False, wanted=True)
    assert one.learn_lease(refused, PROBES, 6.0, 6.0) == [GiveBack()]
    # Until the actor has done so: a probe may have begun.
    assert one.has_lease
    one.follow(ends(State.OPEN, reason=GIVEN_BACK), 6.0)
    assert one.requests(FOLLOWS, 6.0)[0] == ReleaseLease("me", 101)


def test_a_renewal_that_comes_after_the_lease_changes_nothing() -> None:
    one = holder()
    assert one.learn_lease(GRANTED, PROBES, now=20.0, asked=5.0) == []
    assert one.has_lease


def test_a_holder_waits_for_a_call_of_its_own_before_it_gives_its_lease_away() -> None:
    one = holder()
    assert one.acquires(PROBES, KEEP - 0.01) is None
    assert one.acquires(PROBES, KEEP) is not None


def test_a_refusal_leaves_an_instance_without_a_lease() -> None:
    one = open_link()
    refused = MAY_PROBE._replace(held=True, wanted=True)
    assert one.learn_lease(refused, FOLLOWS, 0.0, 0.0) == []
    assert one.held_elsewhere
    assert not one.has_lease


def test_an_answer_that_all_is_closed_is_looked_into_at_once() -> None:
    one = open_link()
    assert one.learn_lease(NOTHING, FOLLOWS, 0.5, 0.5) == []
    assert one.due == 0.5
    assert one.is_news(FOLLOWS, 0.5)


def test_a_valid_lease_is_left_alone_by_reports() -> None:
    one = holder()
    assert one.learn(GRANTED._replace(accepted=False), PROBES, 1.0) == []
    assert one.has_lease
    # Another's has replaced it.
    assert one.learn(GRANTED._replace(generation=102, lease=0), PROBES, 2.0) != []
    assert not one.has_lease


@pytest.mark.parametrize(
    ("event", "request_"),
    [
        (ends(State.CLOSED), ProbeResult("me", 101, True, 0)),
        (ends(State.OPEN), ProbeResult("me", 101, False, 5000)),
        (ends(State.OPEN, reason=UNUSED_LEASE), ReleaseLease("me", 101)),
        (ends(State.FORCED_OPEN), ReleaseLease("me", 101)),
        (ends(State.DISABLED), ReleaseLease("me", 101)),
    ],
)
def test_the_end_of_a_probe_is_reported_with_its_lease(event: Transition, request_: object) -> None:
    one = holder()
    one.follow(event, 1.0)
    assert not one.has_lease
    assert one.due == 1.0
    assert one.is_news(FOLLOWS, 1.0)
    assert one.requests(FOLLOWS, 1.0)[0] == request_
    one.learn(NOTHING._replace(generation=102), FOLLOWS, 1.0)
    assert [type(request) for request in one.requests(FOLLOWS, 2.0)] == [Report]


def test_the_end_of_a_probe_during_a_report_is_sent_before_its_reply_counts() -> None:
    one = holder()
    one.requests(PROBES, 1.0)
    one.follow(ends(State.CLOSED), 1.1)
    # It would open what the probe has just closed.
    assert one.learn(GRANTED, PROBES, 1.2) == []
    assert one.due <= 1.2
    assert one.requests(QUIET, 1.2)[0] == ProbeResult("me", 101, True, 0)
    assert one.learn(NOTHING._replace(generation=102), QUIET, 1.3) == [AdoptClosed(CLOSED_ELSEWHERE)]
    assert [type(request) for request in one.requests(QUIET, 2.0)] == [Report]


def test_a_lease_is_not_prolonged_after_the_end_of_its_probe() -> None:
    one = holder()
    assert one.acquires(PROBES, 5.0) is not None
    one.follow(ends(State.OPEN), 5.1)
    assert one.learn_lease(GRANTED, PROBES, 5.2, 5.0) == []
    assert not one.has_lease


def test_other_transitions_are_not_the_end_of_the_probe() -> None:
    one = holder()
    one.follow(ends(State.HALF_OPEN, generation=3), 1.0)
    one.follow(ends(State.OPEN, observed=True), 1.0)
    assert one.has_lease
    other = open_link()
    other.follow(ends(State.CLOSED), 1.0)
    assert [type(request) for request in other.requests(FOLLOWS, 1.0)] == [Report]


def test_a_lease_is_given_back_at_the_end() -> None:
    assert holder().farewell() == [ReleaseLease("me", 101), Leave("me")]
    assert open_link().farewell() == [Leave("me")]
