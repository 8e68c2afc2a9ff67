"""The counters of breakers by name, for OpenTelemetry: they never go back. Pure."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

from ..circuit_breaker import CircuitBreaker
from ..messages import SHADOW_STATES, Outcome, RejectReason, ShadowSnapshot, Snapshot, State

K = TypeVar("K", bound=Hashable)

REJECTED = "rejected"


class Counts(NamedTuple):
    """executions: by outcome and, of rejections, by reason. state_changes: by the new state.

    shadow_executions: by verdict and outcome. shadow_changes: by the new state. Empty without a shadow.
    """

    executions: Mapping[tuple[str, str | None], int]
    state_changes: Mapping[State, int]
    shadow_executions: Mapping[tuple[str, str], int]
    shadow_changes: Mapping[State, int]


class Total:
    """The counts of all breakers that have had one name. Each of them counts from 0."""

    def __init__(self, breaker: CircuitBreaker, before: Counts | None) -> None:
        # Weak: a breaker that was removed is not kept in memory.
        self.breaker = weakref.ref(breaker)
        self.counts = self._before = before or Counts({}, {}, {}, {})

    def count(self, snapshot: Snapshot) -> Counts:
        """The total after this snapshot of the breaker that has the name now."""
        now, before = _of(snapshot), self._before
        self.counts = Counts(
            _sum(now.executions, before.executions),
            _sum(now.state_changes, before.state_changes),
            _sum(now.shadow_executions, before.shadow_executions),
            _sum(now.shadow_changes, before.shadow_changes),
        )
        return self.counts


def _of(snapshot: Snapshot) -> Counts:
    ended: dict[tuple[str, str | None], int] = {
        (outcome.value, None): snapshot.counts[outcome.value] for outcome in Outcome
    }
    rejected = {(REJECTED, reason.value): snapshot.rejections[reason.value] for reason in RejectReason}
    changes = dict.fromkeys(State, 0)
    for (_, new), count in snapshot.transitions.items():
        changes[new] += count
    return Counts(ended | rejected, changes, *_shadow_counts(snapshot.shadow))


def _shadow_counts(
    shadow: ShadowSnapshot | None,
) -> tuple[Mapping[tuple[str, str], int], Mapping[State, int]]:
    if shadow is None:
        return {}, {}
    calls = {(verdict, end): count for verdict, ends in shadow.calls.items() for end, count in ends.items()}
    changes = dict.fromkeys(SHADOW_STATES, 0)
    for (_, new), count in shadow.transitions.items():
        changes[new] += count
    return calls, changes


def _sum(now: Mapping[K, int], before: Mapping[K, int]) -> dict[K, int]:
    return {key: count + before.get(key, 0) for key, count in now.items()}
