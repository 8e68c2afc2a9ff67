"""Snapshots of breakers as JSON, for other processes. Every field is kept, exemplars included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from actors.messages import Exemplar, HistogramSnapshot, Learned, ShadowSnapshot, Snapshot, State

_HISTOGRAMS = ("recovery", "durations")


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as values that JSON has."""
    values = {field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)}
    values["state"] = snapshot.state.name
    values["counts"] = {str(key): count for key, count in snapshot.counts.items()}
    values["rejections"] = {str(key): count for key, count in snapshot.rejections.items()}
    values["transitions"] = _transitions_to_json(snapshot.transitions)
    for name in _HISTOGRAMS:
        values[name] = _histogram_to_json(values[name])
    values["shadow"] = _shadow_to_json(snapshot.shadow)
    return values


def from_json(values: Mapping[str, Any]) -> Snapshot:
    """Return the snapshot of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
    known = {field.name for field in dataclasses.fields(Snapshot)}
    # A worker of another version may know more fields.
    found = {key: value for key, value in values.items() if key in known}
    found["state"] = State[values["state"]]
    found["transitions"] = _transitions_from_json(values["transitions"])
    for name in _HISTOGRAMS:
        found[name] = _histogram_from_json(found.get(name))
    found["learned"] = _learned_from_json(found.get("learned"))
    found["shadow"] = _shadow_from_json(found.get("shadow"))
    return Snapshot(**found)


def _transitions_to_json(transitions: Mapping[tuple[State, State], int]) -> list[list[Any]]:
    return [[old.name, new.name, count] for (old, new), count in transitions.items()]


def _transitions_from_json(values: Iterable[Any]) -> dict[tuple[State, State], int]:
    return {(State[old], State[new]): int(count) for old, new, count in values}


def _learned_from_json(values: Iterable[Any] | None) -> Learned | None:
    return None if values is None else Learned(*values)


def _shadow_to_json(shadow: ShadowSnapshot | None) -> dict[str, Any] | None:
    if shadow is None:
        return None
    values = {field.name: getattr(shadow, field.name) for field in dataclasses.fields(shadow)}
    calls = {verdict: dict(ends) for verdict, ends in shadow.calls.items()}
    transitions = _transitions_to_json(shadow.transitions)
    return {**values, "state": shadow.state.name, "transitions": transitions, "calls": calls}


def _shadow_from_json(values: Mapping[str, Any] | None) -> ShadowSnapshot | None:
    if values is None:
        return None
    known = {field.name for field in dataclasses.fields(ShadowSnapshot)}
    found = {key: value for key, value in values.items() if key in known}
    found["state"] = State[values["state"]]
    found["transitions"] = _transitions_from_json(values["transitions"])
    found["learned"] = _learned_from_json(values.get("learned"))
    return ShadowSnapshot(**found)


def _histogram_to_json(histogram: HistogramSnapshot | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    exemplars = [
        [bucket, one.value, dict(one.labels), one.unix_time] for bucket, one in histogram.exemplars.items()
    ]
    return {
        "bounds": histogram.bounds,
        "counts": histogram.counts,
        "total": histogram.total,
        "exemplars": exemplars,
    }


def _histogram_from_json(values: Mapping[str, Any] | None) -> HistogramSnapshot | None:
    if values is None:
        return None
    exemplars = {
        int(bucket): Exemplar(value, labels, at) for bucket, value, labels, at in values["exemplars"]
    }
    return HistogramSnapshot(tuple(values["bounds"]), tuple(values["counts"]), values["total"], exemplars)
