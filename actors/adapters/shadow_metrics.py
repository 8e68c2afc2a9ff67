"""Prometheus families of shadow policies, built from one snapshot of each breaker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from ..messages import SHADOW_STATES, ShadowSnapshot, Snapshot, State

MOVES = tuple(
    (old, new)
    for old, new in product(SHADOW_STATES, SHADOW_STATES)
    if old is not new and (new is not State.HALF_OPEN or old is State.OPEN)
)
"""Every possible transition of a shadow."""


def shadow_families(snapshots: Iterable[Snapshot], *, counters: bool) -> Iterator[Metric]:
    """The families of the breakers whose policy has a shadow. counters: False leaves out the counters."""
    shadows = [(one.name, one.shadow) for one in snapshots if one.shadow is not None]
    state = GaugeMetricFamily(
        "circuit_breaker_shadow_state",
        "State of the shadow policy: 0 closed, 1 half-open, 2 open; NaN: it has stopped",
        labels=["service"],
    )
    for name, shadow in shadows:
        state.add_metric([name], math.nan if shadow.stopped is not None else shadow.state)
    yield state
    if counters:
        yield _transitions(shadows)
        yield _calls(shadows)


def _transitions(shadows: Iterable[tuple[str, ShadowSnapshot]]) -> Metric:
    moves = CounterMetricFamily(
        "circuit_breaker_shadow_transitions",
        "Transitions of the shadow policy",
        labels=["service", "from", "to"],
    )
    for name, shadow in shadows:
        for old, new in MOVES:
            count = shadow.transitions.get((old, new), 0)
            moves.add_metric([name, old.name.lower(), new.name.lower()], count)
    return moves


def _calls(shadows: Iterable[tuple[str, ShadowSnapshot]]) -> Metric:
    calls = CounterMetricFamily(
        "circuit_breaker_shadow_calls",
        "Calls by what the shadow policy would have done, and by how they ended; unseen: not let through",
        labels=["service", "verdict", "outcome"],
    )
    for name, shadow in shadows:
        for verdict, ends in shadow.calls.items():
            for end, count in ends.items():
                calls.add_metric([name, verdict, end], count)
    return calls
