"""One breaker of several processes merged into one snapshot: the worst state, and the counts of all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from actors.adapters.health import PLAIN
from actors.messages import HistogramSnapshot, ShadowSnapshot, Snapshot, State


def merge_snapshots(running: Sequence[Snapshot], ever: Sequence[Snapshot]) -> Snapshot:
    """The worst snapshot of `running`, with the counts of `ever` added up.

    running: of the workers that run, at least one. ever: those, and the last ones of workers that have died.
    The calls in flight and their limit are those of `running`; the times are those of the merged state.
    """
    worst = max(running, key=_badness)
    merged = worst
    for one in ever:
        if one is not worst:
            merged = add_counts(merged, one)
    return replace(
        merged,
        in_flight=sum(one.in_flight for one in running),
        bulkhead_limit=_bulkhead_limit(running),
        unix_changed_at=_changed_at(running),
        unix_opened_at=min((one.unix_opened_at for one in running if one.unix_opened_at), default=0.0),
        shadow=_merged_shadow(running, ever),
    )


def _bulkhead_limit(running: Sequence[Snapshot]) -> int | None:
    """The calls that all processes may run at once; None: one of them has no limit."""
    limits = [one.bulkhead_limit for one in running if one.bulkhead_limit is not None]
    return sum(limits) if len(limits) == len(running) else None


def _changed_at(running: Sequence[Snapshot]) -> float:
    """When the merged state began: when the first breaker opened, else the last change of any breaker."""
    opened = [one.unix_changed_at for one in running if PLAIN[one.state] is State.OPEN]
    return min(opened) if opened else max(one.unix_changed_at for one in running)


def _badness(one: Snapshot) -> tuple[int, int, float]:
    """Orders by state (open is worst), then by the number of failures or slow calls, then by the age."""
    return PLAIN[one.state], max(one.failure_count, one.slow_count), -one.unix_changed_at


def add_counts(one: Snapshot, other: Snapshot | None) -> Snapshot:
    """The snapshot `one` with the counts of `other` added."""
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
        shadow=_summed_shadow(one.shadow, other.shadow),
        recovery=_merged_histogram(one.recovery, other.recovery),
        durations=_merged_histogram(one.durations, other.durations),
    )


def add_totals(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Counters by name, added."""
    return _sum(one, other)


def at_least(one: Snapshot, floor: Snapshot | None) -> Snapshot:
    """The snapshot `one` with no count lower than that of `floor`."""
    if floor is None:
        return one
    return replace(
        one,
        counts=_most(one.counts, floor.counts),
        rejections=_most(one.rejections, floor.rejections),
        transitions=_most(one.transitions, floor.transitions),
        late=max(one.late, floor.late),
        would_reject=max(one.would_reject, floor.would_reject),
        restarts=max(one.restarts, floor.restarts),
        shadow=_highest_shadow(one.shadow, floor.shadow),
        recovery=_highest(one.recovery, floor.recovery),
        durations=_highest(one.durations, floor.durations),
    )


def totals_at_least(one: Mapping[str, int], floor: Mapping[str, int]) -> dict[str, int]:
    """Counters by name, none lower than that of `floor`."""
    return _most(one, floor)


def without_counts(one: Snapshot) -> Snapshot:
    """The snapshot `one` with every count at zero."""
    return replace(
        one,
        counts=dict.fromkeys(one.counts, 0),
        rejections=dict.fromkeys(one.rejections, 0),
        transitions={},
        late=0,
        would_reject=0,
        restarts=0,
        shadow=_emptied_shadow(one.shadow),
        recovery=_emptied(one.recovery),
        durations=_emptied(one.durations),
    )


def _merged_shadow(running: Sequence[Snapshot], ever: Sequence[Snapshot]) -> ShadowSnapshot | None:
    """The worst shadow of the running workers, with the counts of all; None: no running worker has one."""
    shadows = [one.shadow for one in running if one.shadow is not None]
    if not shadows:
        return None
    merged = worst = max(shadows, key=lambda one: (one.state, one.failure_count))
    for snapshot in ever:
        if snapshot.shadow is not None and snapshot.shadow is not worst:
            merged = _combined(merged, snapshot.shadow, _sum)
    return merged


def _summed_shadow(one: ShadowSnapshot | None, other: ShadowSnapshot | None) -> ShadowSnapshot | None:
    # A policy that no longer has a shadow shows none, whatever was counted before.
    return one if one is None or other is None else _combined(one, other, _sum)


def _highest_shadow(one: ShadowSnapshot | None, floor: ShadowSnapshot | None) -> ShadowSnapshot | None:
    return one if one is None or floor is None else _combined(one, floor, _most)


def _combined(
    one: ShadowSnapshot,
    other: ShadowSnapshot,
    combine: Callable[[Mapping[Any, int], Mapping[Any, int]], dict[Any, int]],
) -> ShadowSnapshot:
    calls = {
        verdict: combine(one.calls.get(verdict, {}), other.calls.get(verdict, {}))
        for verdict in {**one.calls, **other.calls}
    }
    return replace(one, transitions=combine(one.transitions, other.transitions), calls=calls)


def _emptied_shadow(one: ShadowSnapshot | None) -> ShadowSnapshot | None:
    if one is None:
        return None
    calls = {verdict: dict.fromkeys(ends, 0) for verdict, ends in one.calls.items()}
    return replace(one, transitions={}, calls=calls)


def _emptied(one: HistogramSnapshot | None) -> HistogramSnapshot | None:
    if one is None:
        return None
    return HistogramSnapshot(one.bounds, (0,) * len(one.counts), 0.0)


def _most(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: max(one.get(key, 0), other.get(key, 0)) for key in {**one, **other}}


def _highest(one: HistogramSnapshot | None, other: HistogramSnapshot | None) -> HistogramSnapshot | None:
    if one is None or other is None or one.bounds != other.bounds:
        return one
    counts = tuple(max(mine, theirs) for mine, theirs in zip(one.counts, other.counts, strict=True))
    return replace(one, counts=counts, total=max(one.total, other.total))


def _sum(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _merged_histogram(
    one: HistogramSnapshot | None, other: HistogramSnapshot | None
) -> HistogramSnapshot | None:
    if one is None or other is None or one.bounds != other.bounds:
        return one
    counts = tuple(mine + theirs for mine, theirs in zip(one.counts, other.counts, strict=True))
    # Each bucket keeps the exemplar of its latest call in any worker.
    found = [*one.exemplars.items(), *other.exemplars.items()]
    exemplars = dict(sorted(found, key=lambda item: item[1].unix_time))
    return replace(one, counts=counts, total=one.total + other.total, exemplars=exemplars)
