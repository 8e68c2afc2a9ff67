"""One breaker of several processes as one: which of them speaks for all, and everybody's counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.adapters.health import PLAIN
from actors.messages import HistogramSnapshot, Snapshot, State


def merge_snapshots(living: Sequence[Snapshot], all_of_it: Sequence[Snapshot]) -> Snapshot:
    """The worst of `living`, whole, with everybody's counts, and since when they are so together."""
    worst = max(living, key=_badness)
    whole = worst
    for one in all_of_it:
        if one is not worst:
            whole = add_counts(whole, one)
    return replace(
        whole,
        in_flight=sum(one.in_flight for one in living),
        unix_changed_at=_changed_at(living),
        unix_opened_at=min((one.unix_opened_at for one in living if one.unix_opened_at), default=0.0),
    )


def _changed_at(living: Sequence[Snapshot]) -> float:
    """When they came to be so: open with the first that is, else with the last change of those who live."""
    opened = [one.unix_changed_at for one in living if PLAIN[one.state] is State.OPEN]
    return min(opened) if opened else max(one.unix_changed_at for one in living)


def _badness(one: Snapshot) -> tuple[int, int, float]:
    """The open one first, then the one that counts more failures or slow calls, then the one longest so."""
    return PLAIN[one.state], max(one.failure_count, one.slow_count), -one.unix_changed_at


def add_counts(one: Snapshot, other: Snapshot | None) -> Snapshot:
    """One breaker's snapshot with the counts of another's added."""
    if other is None:
        return one
    return replace(
        one,
        counts=_sum(one.counts, other.counts),
        rejections=_sum(one.rejections, other.rejections),
        transitions=_sum(one.transitions, other.transitions),
        late=one.late + other.late,
        would_reject=one.would_reject + other.would_reject,
        restarts=one.restarts + other.restarts,
        recovery=_joined(one.recovery, other.recovery),
        durations=_joined(one.durations, other.durations),
    )


def _sum(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _joined(one: HistogramSnapshot | None, other: HistogramSnapshot | None) -> HistogramSnapshot | None:
    if one is None or other is None or one.bounds != other.bounds:
        return one
    counts = tuple(mine + theirs for mine, theirs in zip(one.counts, other.counts, strict=True))
    # Of each bucket the exemplar of its last call, whosever it was.
    found = [*one.exemplars.items(), *other.exemplars.items()]
    exemplars = dict(sorted(found, key=lambda item: item[1].unix_time))
    return replace(one, counts=counts, total=one.total + other.total, exemplars=exemplars)
