"""What the instances report of one breaker, and whether it is enough to open it for all. Pure.

Times are milliseconds on the store's clock, shares and rates parts per million: the store counts in integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

WHOLE = 1_000_000
"""Parts per million of a whole."""


class Judgement(StrEnum):
    """An instance's judgement of the dependency by its own last calls."""

    BAD = "b"
    GOOD = "g"
    NONE = "-"


@dataclass(frozen=True, slots=True)
class InstanceEvidence:
    """The last report of one instance.

    judged_at: when its verdict was reported. share: its failures as a part of those that its own policy
    needs. failures, calls: of a policy that trips by a rate, within its window. polled_at: its last sign of
    life.
    """

    verdict: Judgement
    judged_at: int
    share: int = 0
    failures: int = 0
    calls: int = 0
    polled_at: int = 0


class Rule(NamedTuple):
    """When evidence is enough.

    quorum: the bad instances that it takes. window: how long a report counts, ms. confirm: how long the
    condition must hold without a break, ms. rate: of failed calls, of `minimum_calls` or more, for a policy
    that trips by a rate; 0 for one that counts failures.
    """

    quorum: int
    window: int
    confirm: int
    rate: int = 0
    minimum_calls: int = 0


class Tally(NamedTuple):
    """The reports within the window, added up."""

    bad: int
    good: int
    share: int
    failures: int
    calls: int


def add_up(reports: Iterable[InstanceEvidence]) -> Tally:
    """Add up reports. `share` is that of the bad instances."""
    bad = good = share = failures = calls = 0
    for report in reports:
        if report.verdict is Judgement.NONE:
            continue
        failures += report.failures
        calls += report.calls
        if report.verdict is Judgement.BAD:
            bad += 1
            share += report.share
        else:
            good += 1
    return Tally(bad, good, share, failures, calls)


def is_enough(tally: Tally, rule: Rule) -> bool:
    """Whether a quorum that is a majority has seen, together, what one instance would need to open."""
    if tally.bad < rule.quorum or tally.bad <= tally.good:
        return False
    if rule.rate:
        return tally.calls >= rule.minimum_calls and tally.failures * WHOLE >= rule.rate * tally.calls
    return tally.share >= WHOLE
