"""One breaker's link: what it reports of local evidence, and what it does about replies."""

from __future__ import annotations

import pytest

from actors import State, Transition
from actors.commands import AdoptClosed, AdoptOpen, GiveBack, GrantProbe, LocalEvidence
from actors.machine.half_open import GIVEN_BACK, UNUSED_LEASE
from actors.policy.trip import TripEvidence
from actors.sharing.evidence import WHOLE, Judgement
from actors.sharing.link import BEAT, CLOSED_ELSEWHERE, KEEP, LEASE_SHARE, POLL, BreakerLink, SharingPolicy
from actors.sharing.requests import AcquireLease, Leave, ProbeResult, ReleaseLease, Reply, Report

QUIET = LocalEvidence(State.CLOSED, 1, TripEvidence(0, 5, is_row=True), 0, 0, 0, False, False, 0, False, 60.0)
OPEN = QUIET._replace(state=State.OPEN, generation=2, evidence=TripEvidence(5, 5, is_row=True), failures=5)
FOLLOWS = OPEN._replace(waits_for_lease=True)
PROBES = QUIET._replace(state=State.HALF_OPEN, generation=3, evidence=None, has_lease=True)
NOTHING = Reply(False, 0, False, 0, 0, 0, False, False, False, 0, 0)
OPENED = NOTHING._replace(generation=100, is_open=True, wait=5000, opened_by=3)
MAY_PROBE = OPENED._replace(wait=0)
GRANTED = MAY_PROBE._replace(accepted=True, generation=101, lease=10_000, held=True)


def link(now: float = 0.0) -> BreakerLink:
    return BreakerLink("me", SharingPolicy(), now)


def report(one: BreakerLink, local: LocalEvidence, now: float = 0.0) -> Report:
    found = one.requests(local, now)[-1]
    assert isinstance(found, Report)
    return found


def open_link() -> BreakerLink:
    one = link()
    one.requests(FOLLOWS, 0.0)
    one.learn(MAY_PROBE, FOLLOWS, 0.0)
    return one


def holder() -> BreakerLink:
    one = open_link()
    assert one.learn_lease(GRANTED, FOLLOWS, 0.0, 0.0) == [GrantProbe(9.0, 0)]
    return one


def ends(new: State, *, reason: str = "it ended", generation: int = 4, observed: bool = False) -> Transition:
    wait = 5.0 if new is State.OPEN else None
    return Transition(
        "it", State.HALF_OPEN, new, reason, generation, 1.0, retry_after=wait, observed=observed
    )


# Evidence.


@pytest.mark.parametrize(
    ("local", "verdict", "counts"),
    [
        (QUIET, Judgement.NONE, (0, 0, 0)),
        (QUIET._replace(successes=1), Judgement.GOOD, (0, 0, 0)),
        (
            QUIET._replace(failures=2, evidence=TripEvidence(2, 5, is_row=True)),
            Judgement.BAD,
            (400_000, 0, 0),
        ),
        # A row that a success has ended, and one that has gone on after it.
        (QUIET._replace(failures=2, successes=1), Judgement.GOOD, (0, 0, 0)),
        (
            QUIET._replace(failures=2, successes=1, evidence=TripEvidence(1, 5, is_row=True)),
            Judgement.BAD,
            (200_000, 0, 0),
        ),
        # A window of failures with a success among them.
        (
            QUIET._replace(failures=2, successes=1, evidence=TripEvidence(2, 5)),
            Judgement.GOOD,
            (400_000, 0, 0),
        ),
        # A rate: bad from the rate on.
        (
            QUIET._replace(failures=1, successes=1, evidence=TripEvidence(1, 0, 2, 0.5, 10)),
            Judgement.BAD,
            (0, 1, 2),
        ),
        (
            QUIET._replace(failures=1, successes=2, evidence=TripEvidence(1, 0, 3, 0.5, 10)),
            Judgement.GOOD,
            (0, 1, 3),
        ),
        (QUIET._replace(failures=1, evidence=TripEvidence(0, 0, 0, 0.5, 10)), Judgement.GOOD, (0, 0, 0)),
        # Opened by its own policy, by an operator, by the others.
        (OPEN, Judgement.BAD, (WHOLE, 0, 0)),
        (OPEN._replace(evidence=TripEvidence(3, 5)), Judgement.NONE, (0, 0, 0)),
        (OPEN._replace(evidence=None), Judgement.NONE, (0, 0, 0)),
        (FOLLOWS, Judgement.NONE, (0, 0, 0)),
        # An operator holds it.
        (QUIET._replace(state=State.FORCED_OPEN, evidence=None, failures=5), Judgement.NONE, (0, 0, 0)),
        (QUIET._replace(state=State.DISABLED, evidence=None, successes=5), Judgement.NONE, (0, 0, 0)),
    ],
)
def test_a_report_judges_what_has_happened(
    local: LocalEvidence, verdict: Judgement, counts: tuple[int, int, int]
) -> None:
    found = report(link(), local)
    assert (found.verdict, (found.share, found.failures, found.calls)) == (verdict, counts)


def test_an_opening_is_evidence_once() -> None:
    one = link()
    assert report(one, OPEN).verdict is Judgement.BAD
    assert report(one, OPEN, 1.0).verdict is Judgement.NONE


def test_a_report_has_the_policy_in_milliseconds() -> None:
    local = QUIET._replace(evidence=TripEvidence(1, 0, 2, 0.25, 10))
    found = report(BreakerLink("me", SharingPolicy(quorum=3, lease=2.0, window=1.5), 0.0), local)
    assert found.rule == (3, 1500, 250, 250_000, 10)
    assert found.wait == 60_000
    assert (found.known_generation, found.known_open) == (0, False)


def test_a_report_says_what_it_knows_of_an_opening() -> None:
    one = link()
    one.requests(FOLLOWS, 0.0)
    one.learn(OPENED._replace(attempt=2), FOLLOWS, 0.0)
    found = report(one, FOLLOWS, 2.0)
    assert (found.known_generation, found.known_open, found.known_attempt) == (100, True, 2)
    assert found.known_wait == 3010


@pytest.mark.parametrize("field", ["lease", "window"])
def test_a_policy_that_cannot_work_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SharingPolicy(**{field: 0.0})
    with pytest.raises(ValueError, match="quorum"):
        SharingPolicy(quorum=0)


# When it reports.


def test_the_first_change_is_reported_at_once_and_more_within_a_beat() -> None:
    one = link()
    one.requests(QUIET, 10.0)
    assert one.due == 10.0 + POLL
    one.note_change(10.5)
    assert one.due == 10.5
    one.requests(QUIET, 10.5)
    one.note_change(10.51)
    assert one.due == 10.5 + BEAT


def test_what_says_nothing_new_waits_for_the_poll() -> None:
    one = link()
    one.requests(QUIET, 10.0)
    assert not one.is_news(QUIET, 10.5)
    assert one.due == 10.0 + POLL
    assert one.is_news(QUIET, 10.0 + POLL)
    assert one.is_news(QUIET._replace(failures=1, evidence=TripEvidence(1, 5)), 10.5)
    assert one.is_news(QUIET._replace(successes=1), 10.5)
    one.requests(QUIET._replace(successes=1), 10.5)
    # It was good already.
    assert not one.is_news(QUIET._replace(successes=2), 10.6)


def test_standing_evidence_makes_it_look_each_beat_and_confirmation_makes_it_ask() -> None:
    one = link()
    one.requests(QUIET, 10.0)
    one.learn(NOTHING._replace(standing=True, confirm=200), QUIET, 10.0)
    assert one.due == 10.0 + BEAT
    assert not one.is_news(QUIET, 10.1)
    assert one.due == 10.1 + BEAT
    assert one.is_news(QUIET, 10.22)


def test_news_from_elsewhere_is_asked_for_at_once() -> None:
    one = link()
    one.requests(QUIET, 10.0)
    one.note_news(10.2)
    assert one.due == 10.2
    assert one.is_news(QUIET, 10.2)


def test_what_was_not_delivered_is_reported_again() -> None:
    one = link()
    bad = QUIET._replace(failures=1, evidence=TripEvidence(1, 5))
    assert report(one, bad).verdict is Judgement.BAD
    one.failed(1.0)
    assert one.due == 1.0
    assert report(one, bad, 1.0).verdict is Judgement.BAD


def test_what_is_too_old_is_dropped_and_counted() -> None:
    one = holder()
    bad = QUIET._replace(failures=9, evidence=TripEvidence(1, 5, is_row=True))
    one.follow(ends(State.CLOSED), 1.0)
    assert one.give_up(bad) == 2
    assert not one.has_lease
    assert [type(request) for request in one.requests(bad, 2.0)] == [Report]
    assert report(one, bad, 2.0).verdict is Judgement.NONE
    assert one.give_up(None) == 0


# The shared state.


def test_a_shared_opening_opens_with_its_reason() -> None:
    one = link()
    one.requests(QUIET, 0.0)
    assert one.learn(OPENED, QUIET, 0.0) == [AdoptOpen(5.0, "failures of 3 instances", 0)]
    by_hand = OPENED._replace(opened_by=0, generation=101)
    assert one.learn(by_hand, QUIET, 0.0) == [AdoptOpen(5.0, "opened in another instance", 0)]
    assert one.is_open


def test_a_shared_closing_closes_what_followed() -> None:
    one = open_link()
    assert one.learn(NOTHING._replace(generation=102), FOLLOWS, 1.0) == [AdoptClosed(CLOSED_ELSEWHERE)]
    assert one.learn(NOTHING._replace(generation=102), QUIET, 2.0) == []


def test_an_instance_that_follows_an_opening_of_an_earlier_run_closes_too() -> None:
    assert link().learn(NOTHING, FOLLOWS, 0.0) == [AdoptClosed(CLOSED_ELSEWHERE)]
    assert link().learn(NOTHING, PROBES, 0.0) == [AdoptClosed(CLOSED_ELSEWHERE)]


def test_the_answer_of_an_older_store_is_ignored() -> None:
    one = open_link()
    assert one.learn(OPENED._replace(generation=99, is_open=False), FOLLOWS, 1.0) == []
    assert (one.generation, one.is_open) == (100, True)


def test_a_store_without_data_leaves_the_generation() -> None:
    one = open_link()
    one.learn(NOTHING, FOLLOWS, 1.0)
    assert one.generation == 100


# The lease.


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


def test_the_end_of_a_probe_during_a_report_is_told_before_its_reply_counts() -> None:
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
