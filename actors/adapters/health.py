"""A breaker's health as JSON-ready dicts."""

from __future__ import annotations

from typing import Any

from ..messages import Learned, Snapshot, State

PLAIN = {
    State.CLOSED: State.CLOSED,
    State.HALF_OPEN: State.HALF_OPEN,
    State.OPEN: State.OPEN,
    State.FORCED_OPEN: State.OPEN,
    State.DISABLED: State.CLOSED,
    State.OBSERVING: State.CLOSED,
}
"""Each state as the one of CLOSED, HALF_OPEN and OPEN that it acts as."""
STATUS = {State.CLOSED: "healthy", State.HALF_OPEN: "recovering", State.OPEN: "unhealthy"}


def breaker_health(snapshot: Snapshot) -> dict[str, Any]:
    """`{"status": …, "circuit_breaker": {…}}` of one snapshot; `mode` is the exact state."""
    state = PLAIN[snapshot.state]
    return {
        "status": STATUS[state],
        "circuit_breaker": {
            "name": snapshot.name,
            "state": state.name,
            "mode": snapshot.state.name,
            "failure_count": snapshot.failure_count,
            "slow_count": snapshot.slow_count,
            "retry_after": snapshot.retry_after,
            "since": snapshot.unix_changed_at,
            "outage_since": snapshot.unix_opened_at or None,
            "reason": snapshot.last_reason,
            "last_failure": snapshot.last_failure,
            "generation": snapshot.generation,
            "in_flight": snapshot.in_flight,
            "bulkhead_limit": snapshot.bulkhead_limit,
            "calls": dict(snapshot.counts),
            "rejections": dict(snapshot.rejections),
            **learned_view(snapshot),
            **shadow_view(snapshot),
        },
    }


def learned_view(snapshot: Snapshot) -> dict[str, Any]:
    """`{"learned": …}` of a breaker whose trip strategy learns, otherwise nothing.

    Rounded as people read it, so that it seldom changes while nothing happens.
    """
    return {} if snapshot.learned is None else {"learned": _rounded(snapshot.learned)}


def _rounded(learned: Learned) -> dict[str, Any]:
    usual, traffic, evidence, threshold = learned
    return {
        "usual": None if usual is None else round(usual, 3),
        "traffic": None if traffic is None else float(f"{traffic:.2g}"),
        "evidence": round(evidence, 1),
        "threshold": round(threshold, 1),
    }


def shadow_view(snapshot: Snapshot) -> dict[str, Any]:
    """`{"shadow": …}` of a breaker whose policy has a shadow, otherwise nothing.

    opened: how often it would have left CLOSED by its own verdict. calls: see ShadowSnapshot.
    """
    shadow = snapshot.shadow
    if shadow is None:
        return {}
    return {
        "shadow": {
            "state": shadow.state.name,
            "reason": shadow.reason,
            "failure_count": shadow.failure_count,
            "opened": shadow.transitions.get((State.CLOSED, State.OPEN), 0),
            "calls": {verdict: dict(ends) for verdict, ends in shadow.calls.items()},
            "stopped": shadow.stopped,
            **({} if shadow.learned is None else {"learned": _rounded(shadow.learned)}),
        }
    }
