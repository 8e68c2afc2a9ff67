"""Durations, and the failure meter of a breaker."""

from __future__ import annotations

from typing import Any

import pytest

from actors import (
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    SlowCallRate,
    TripStrategy,
)
from deploy.terminal.formatting import duration, failure_meter
from runtime.admin.history import policy_view
from tests.deploy.terminal.terminal_views import breaker


def view(trip: TripStrategy) -> Any:
    """A strategy as in a report."""
    return policy_view(CircuitBreakerConfig(name="a", trip=trip))["trip"]


_RATE = FailureRate(0.5, LastCalls(20), minimum_calls=10)
_SLOW = SlowCallRate(0.5, 1.0, LastSeconds(30), minimum_calls=10)
RATE, SLOW, COUNT = view(_RATE), view(_SLOW), view(FailureCount(7, LastSeconds(60)))


@pytest.mark.parametrize(
    ("max_failures", "trip", "shown"),
    [
        (5, None, "●●●○○"),
        (50, None, "3/50"),
        (5, RATE, "3 in 20 calls"),
        (5, SLOW, "2 slow in 30 s"),
        (5, COUNT, "3/7 in 60 s"),
        (5, view(ConsecutiveFailures(4)), "3/4 failed"),
        (5, {"kind": "Adaptive", "k": 1}, "3 failed"),
        (5, view(AnyOf(_RATE, FailureCount(7, LastSeconds(60)))), "3 failed"),
        (5, view(AnyOf(_RATE, _SLOW)), "3 failed 2 slow"),
    ],
)
def test_the_failure_meter_shows_the_counts_of_the_trip_strategy(
    max_failures: int, trip: Any, shown: str
) -> None:
    """Failures, slow calls, or both."""
    policy = {"max_failures": max_failures, "trip": trip}
    assert failure_meter(breaker("a", failure_count=3, slow_count=2, policy=policy)).plain == shown


@pytest.mark.parametrize(
    ("learned", "shown"),
    [
        ({"usual": 0.01, "traffic": 5.0, "evidence": 3.1, "threshold": 6.0}, "3/6 (1% usual)"),
        ({"usual": None, "traffic": None, "evidence": 0.0, "threshold": 7.0}, "0/7"),
        (None, "3 failed"),
    ],
)
def test_the_failure_meter_of_an_adaptive_breaker_shows_what_it_has_learned(learned: Any, shown: str) -> None:
    policy = {"max_failures": 5, "trip": {"kind": "Adaptive"}}
    assert failure_meter(breaker("a", failure_count=3, policy=policy, learned=learned)).plain == shown


def test_a_duration_has_at_most_two_units() -> None:
    assert [duration(s) for s in (0, 59.6, 72, 11520, 187200)] == [
        "0 s",
        "1 min 0 s",
        "1 min 12 s",
        "3 h 12 min",
        "2 d 4 h",
    ]
