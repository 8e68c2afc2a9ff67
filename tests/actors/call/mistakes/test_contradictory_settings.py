"""Settings of a policy that contradict each other are refused."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from typing import Any

import pytest

from actors import AnyOf, Backoff, ConsecutiveFailures, FailureRate, LastCalls, SlowCallRate
from tests.actors.call.functions import fine
from tests.actors.policies import policy

RATE = FailureRate(0.5, LastCalls(10), 5)
SLOW = SlowCallRate(0.5, 3.0, LastCalls(10), 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_failures": 3, "trip": RATE}, "max_failures must not be set beside trip, got 3"),
        (
            {"max_failures": 3, "trip": ConsecutiveFailures(3)},
            "max_failures must not be set beside trip, got 3",
        ),
        ({"backoff": Backoff(maximum=59)}, "backoff.maximum must be at least reset_timeout (60), got 59"),
        (
            {"reset_timeout": 2, "backoff": Backoff(factor=2, maximum=1.5)},
            "backoff.maximum must be at least reset_timeout (2), got 1.5",
        ),
        (
            {"call_timeout": 30, "half_open_timeout": 20},
            "half_open_timeout must be at least call_timeout (30), got 20",
        ),
        (
            {"call_timeout": 90, "half_open_timeout": 61},
            "half_open_timeout must be at least call_timeout (90), got 61",
        ),
        (
            {"call_timeout": 2, "trip": SLOW},
            "SlowCallRate.threshold must be at most call_timeout (2), got 3.0",
        ),
        (
            {"call_timeout": 2, "trip": AnyOf(RATE, SLOW)},
            "SlowCallRate.threshold must be at most call_timeout (2), got 3.0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        policy(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_failures": 3},
        {"trip": RATE},
        {"max_failures": 5, "trip": RATE},
        {"backoff": Backoff(maximum=60)},
        {"backoff": Backoff(factor=2.0, jitter=0.5)},
        {"reset_timeout": 1, "backoff": Backoff(factor=2, maximum=30)},
        {"call_timeout": 30, "half_open_timeout": 30},
        {"call_timeout": 120},
        {"call_timeout": 120, "half_open_timeout": 60.0},
        {"call_timeout": 30, "half_open_timeout": None},
        {"half_open_timeout": 1},
        {"call_timeout": 3, "trip": SLOW},
        {"trip": SLOW, "in_flight_slow": True},
        {"failure": (OSError, ValueError), "ignore": KeyError, "answers": (LookupError,)},
        {"failure": Exception, "ignore": ()},
        {"probe": fine, "probe_interval": 5},
        {"max_concurrent": 10, "max_queue": 5, "queue_timeout": 1},
    ],
)
def test_settings_that_fit_together_are_accepted(fields: dict[str, Any]) -> None:
    config = policy(**fields)
    assert {field: getattr(config, field) for field in fields} == fields
    assert replace(config) == config
    assert pickle.loads(pickle.dumps(replace(config, probe=None, probe_interval=None))) == replace(
        config, probe=None, probe_interval=None
    )


def test_replace_keeps_max_failures_and_trip() -> None:
    counted_in_a_row = policy(max_failures=3)
    by_rate = replace(counted_in_a_row, trip=RATE)
    assert by_rate.strategy == RATE
    assert by_rate.max_failures == 3
    assert replace(by_rate, name="other").strategy == RATE
    assert replace(by_rate, trip=None).strategy == ConsecutiveFailures(3)
    assert replace(by_rate, trip=None, max_failures=4).strategy == ConsecutiveFailures(4)
    assert replace(pickle.loads(pickle.dumps(counted_in_a_row)), trip=RATE).strategy == RATE
    with pytest.raises(ValueError, match="max_failures must not be set beside trip, got 4"):
        replace(by_rate, max_failures=4)


def test_max_failures_prints_as_the_number_that_was_given() -> None:
    config = policy(max_failures=3)
    assert repr(config.max_failures) == "3"
    assert f"{config.max_failures}" == "3"
    assert "max_failures=3," in repr(config)
    assert hash(config) == hash(policy(max_failures=3))
