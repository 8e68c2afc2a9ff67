"""The counts of one breaker in several processes: added, or kept from decreasing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import add
from typing import Any

from actors.messages import HistogramSnapshot, ShadowSnapshot, Snapshot
from gateway.metrics.request_counts import combined_by_key

Combine = Callable[[Any, Any], Any]
"""What becomes of two counts: `add`, or `max`."""


def add_counts(one: Snapshot, other: Snapshot | None) -> Snapshot:
    """The snapshot `one` with the counts of `other` added."""
    return one if other is None else _combined(one, other, add)


def at_least(one: Snapshot, floor: Snapshot | None) -> Snapshot:
    """The snapshot `one` with no count lower than that of `floor`."""
    return one if floor is None else _combined(one, floor, max)


def add_totals(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Counters by name, added."""
    return combined_by_key(one, other, add)


def totals_at_least(one: Mapping[str, int], floor: Mapping[str, int]) -> dict[str, int]:
    """Counters by name, none lower than that of `floor`."""
    return combined_by_key(one, floor, max)


def add_shadow_counts(one: ShadowSnapshot, other: ShadowSnapshot) -> ShadowSnapshot:
    """The shadow `one` with the counts of `other` added."""
    return _combined_shadow(one, other, add)


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
        shadow=None if one.shadow is None else _emptied_shadow(one.shadow),
        recovery=None if one.recovery is None else _emptied(one.recovery),
        durations=None if one.durations is None else _emptied(one.durations),
    )


def _combined(one: Snapshot, other: Snapshot, combine: Combine) -> Snapshot:
    shadow = one.shadow
    # A policy that no longer has a shadow shows none, whatever was counted before.
    if shadow is not None and other.shadow is not None:
        shadow = _combined_shadow(shadow, other.shadow, combine)
    return replace(
        one,
        counts=combined_by_key(one.counts, other.counts, combine),
        rejections=combined_by_key(one.rejections, other.rejections, combine),
        transitions=combined_by_key(one.transitions, other.transitions, combine),
        late=combine(one.late, other.late),
        would_reject=combine(one.would_reject, other.would_reject),
        restarts=combine(one.restarts, other.restarts),
        shadow=shadow,
        recovery=_combined_histogram(one.recovery, other.recovery, combine),
        durations=_combined_histogram(one.durations, other.durations, combine),
    )


def _combined_shadow(one: ShadowSnapshot, other: ShadowSnapshot, combine: Combine) -> ShadowSnapshot:
    calls = {
        verdict: combined_by_key(one.calls.get(verdict, {}), other.calls.get(verdict, {}), combine)
        for verdict in {**one.calls, **other.calls}
    }
    return replace(one, transitions=combined_by_key(one.transitions, other.transitions, combine), calls=calls)


def _combined_histogram(
    one: HistogramSnapshot | None, other: HistogramSnapshot | None, combine: Combine
) -> HistogramSnapshot | None:
    if one is None or other is None or one.bounds != other.bounds:
        return one
    counts = tuple(map(combine, one.counts, other.counts))
    # Each bucket keeps the exemplar of its latest call in any worker.
    found = [*one.exemplars.items(), *other.exemplars.items()]
    exemplars = dict(sorted(found, key=lambda item: item[1].unix_time))
    return replace(one, counts=counts, total=combine(one.total, other.total), exemplars=exemplars)


def _emptied_shadow(one: ShadowSnapshot) -> ShadowSnapshot:
    calls = {verdict: dict.fromkeys(ends, 0) for verdict, ends in one.calls.items()}
    return replace(one, transitions={}, calls=calls)


def _emptied(one: HistogramSnapshot) -> HistogramSnapshot:
    return HistogramSnapshot(one.bounds, (0,) * len(one.counts), 0.0)
