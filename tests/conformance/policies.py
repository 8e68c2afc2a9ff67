"""A case's policy as this project writes it, the outcomes of its calls, and readings of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors import (
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Outcome,
    SlowCallRate,
    Snapshot,
    TripStrategy,
)
from tests.conformance.suite import CannotExpressError

OUTCOMES = {
    "success": Outcome.SUCCESS,
    "failure": Outcome.FAILURE,
    "ignored": Outcome.IGNORED,
    "cancelled": Outcome.CANCELLED,
}
ENDS = {"success": "succeeded", "failure": "failed", "ignored": "failed", "cancelled": "cancelled"}
AS_THEY_ARE = (
    "reset_timeout",
    "half_open_max_calls",
    "successes_to_close",
    "ramp",
    "in_flight_slow",
    "call_timeout",
    "max_concurrent",
    "max_queue",
    "queue_timeout",
    "cancel_in_flight",
    "probe_interval",
    "half_open_failure_rate",
)
POLICY = {
    *AS_THEY_ARE,
    *("trip", "half_open_timeout", "backoff", "server_wait", "failure_result", "own_probe", "idle_timeout"),
}


class Failed(Exception):
    """The guarded call's own exception. server_wait: seconds its server asked to wait."""

    def __init__(self, server_wait: float | None = None) -> None:
        super().__init__(server_wait)
        self.server_wait = server_wait


class Ignored(Exception):
    """An exception that the policy ignores."""


class AnsweredNo(Exception):
    """An exception that the policy calls an answer."""


class BadResult:
    """A returned value that the policy calls a failure."""


def config_of(policy: Mapping[str, Any], probe: Any = None) -> CircuitBreakerConfig:
    """The policy of a case as this project writes it."""
    if unknown := sorted(policy.keys() - POLICY):
        raise CannotExpressError(f"no {', '.join(unknown)}")
    settings: dict[str, Any] = {key: policy[key] for key in AS_THEY_ARE if key in policy}
    if policy.get("server_wait"):
        settings["retry_after"] = lambda error: getattr(error, "server_wait", None)
    if policy.get("failure_result"):
        settings["failure_result"] = lambda value: isinstance(value, BadResult)
    if policy.get("own_probe"):
        settings["probe"] = probe
    return CircuitBreakerConfig(
        name="subject",
        trip=strategy_of(policy["trip"]),
        half_open_timeout=policy.get("half_open_timeout"),
        backoff=Backoff(**policy.get("backoff", {})),
        ignore=Ignored,
        answers=AnsweredNo,
        **settings,
    )


def strategy_of(trip: Mapping[str, Any]) -> TripStrategy:
    """The trip strategy of a case as this project writes it."""
    if trip["kind"] == "any":
        return AnyOf(*(strategy_of(each) for each in trip["of"]))
    if trip["kind"] == "consecutive":
        return ConsecutiveFailures(trip["n"])
    window = LastCalls(trip["calls"]) if "calls" in trip else LastSeconds(trip["seconds"])
    if trip["kind"] == "failure_count":
        return FailureCount(trip["n"], window)
    if trip["kind"] == "failure_rate":
        return FailureRate(trip["rate"], window, trip["minimum"])
    return SlowCallRate(trip["rate"], trip["threshold"], window, trip["minimum"])


def reading(snapshot: Snapshot, what: str) -> Any:
    if what == "state":
        return snapshot.state.name.lower()
    if what == "failures":
        return snapshot.failure_count
    if what == "slow":
        return snapshot.slow_count
    if what in ("retry_after", "late", "would_reject", "in_flight"):
        return getattr(snapshot, what)
    return snapshot.counts[what]
