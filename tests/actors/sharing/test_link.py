"""One breaker's link: its reports of local evidence, their times, and how it follows the shared state."""

from __future__ import annotations

import pytest

from actors import State
from actors.commands import AdoptClosed, AdoptOpen, LocalEvidence
from actors.policy.trip import TripEvidence
from actors.sharing.evidence import WHOLE, Judgement
from actors.sharing.link import BEAT, CLOSED_ELSEWHERE, POLL, BreakerLink, SharingPolicy
from actors.sharing.requests import Report
from tests.actors.sharing.links import (
    FOLLOWS,
    NOTHING,
    OPEN,
    OPENED,
    PROBES,
    QUIET,
    ends,
    holder,
    link,
    open_link,
    report,
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
