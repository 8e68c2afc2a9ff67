"""One breaker of several processes in one snapshot: the worst state, with the counts of all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.adapters.health import PLAIN
from actors.messages import ShadowSnapshot, Snapshot, State
from gateway.workers.counts import add_counts, add_shadow_counts


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


def _merged_shadow(running: Sequence[Snapshot], ever: Sequence[Snapshot]) -> ShadowSnapshot | None:
    """The worst shadow of the running workers, with the counts of all; None: no running worker has one."""
    shadows = [one.shadow for one in running if one.shadow is not None]
    if not shadows:
        return None
    merged = worst = max(shadows, key=lambda one: (one.state, one.failure_count))
    for snapshot in ever:
        if snapshot.shadow is not None and snapshot.shadow is not worst:
            merged = add_shadow_counts(merged, snapshot.shadow)
    return merged
