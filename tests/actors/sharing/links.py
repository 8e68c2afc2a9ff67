"""One breaker's link, and the evidence and the replies that its tests feed to it."""

from __future__ import annotations

from actors import State, Transition
from actors.commands import GrantProbe, LocalEvidence
from actors.policy.trip import TripEvidence
from actors.sharing.link import BreakerLink, SharingPolicy
from actors.sharing.requests import Reply, Report

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
