"""The policy of a shadow: the fields that it takes over from the one in force, and refused fields."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from actors import (
    SAME,
    Adaptive,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    LastCalls,
    ShadowPolicy,
    SlowCallRate,
)

SLOW = SlowCallRate(rate=0.5, threshold=1.0, window=LastCalls(4), minimum_calls=4)


async def ping() -> None: ...


def effective(shadow: ShadowPolicy, **policy: Any) -> CircuitBreakerConfig:
    found = CircuitBreakerConfig(name="it", shadow=shadow, **policy).shadow_config
    assert found is not None
    return found


def test_what_a_shadow_does_not_set_is_that_of_the_policy_in_force() -> None:
    own: dict[str, Any] = {
        "max_failures": 7,
        "reset_timeout": 20,
        "backoff": Backoff(factor=2),
        "ramp": 3,
        "call_timeout": 1,
        "ignore": KeyError,
    }
    found = effective(ShadowPolicy(reset_timeout=5, ramp=None), **own)
    assert found == CircuitBreakerConfig(name="it", **{**own, "reset_timeout": 5, "ramp": None})


def test_each_field_of_a_shadow_is_one_of_a_policy() -> None:
    of_policy = {field.name for field in fields(CircuitBreakerConfig)}
    assert {field.name for field in fields(ShadowPolicy)} < of_policy
    assert all(field.default is SAME for field in fields(ShadowPolicy))
    assert repr(ShadowPolicy(ramp=1)).startswith("ShadowPolicy(max_failures=SAME, ")


def test_a_strategy_or_a_number_of_failures_takes_the_place_of_the_other() -> None:
    assert effective(ShadowPolicy(trip=Adaptive()), max_failures=7).strategy == Adaptive()
    assert effective(ShadowPolicy(max_failures=2), trip=Adaptive()).strategy == ConsecutiveFailures(2)
    assert effective(ShadowPolicy(trip=None), trip=Adaptive()).strategy == ConsecutiveFailures(5)


def test_a_shadow_has_neither_a_probe_nor_a_shadow() -> None:
    found = effective(ShadowPolicy(max_failures=2), probe=ping, probe_interval=5)
    assert (found.probe, found.probe_interval, found.shadow, found.shadow_config) == (None, None, None, None)


def test_slow_calls_in_flight_count_only_for_a_strategy_that_uses_durations() -> None:
    assert effective(ShadowPolicy(trip=Adaptive()), trip=SLOW, in_flight_slow=True).in_flight_slow is False
    slower = replace(SLOW, threshold=2.0)
    assert effective(ShadowPolicy(trip=slower), trip=SLOW, in_flight_slow=True).in_flight_slow is True
    assert effective(ShadowPolicy(ramp=1), trip=SLOW, in_flight_slow=True).in_flight_slow is True


@pytest.mark.parametrize(
    ("shadow", "message"),
    [
        ({"max_failures": 0}, "shadow.max_failures must be a whole number of at least 1"),
        ({"reset_timeout": -1}, "shadow.reset_timeout must be "),
        ({"max_failures": 3, "trip": Adaptive()}, "shadow.max_failures must not be set beside trip"),
        ({"in_flight_slow": True}, "shadow.in_flight_slow needs a SlowCallRate"),
        ({"backoff": Backoff(maximum=1)}, "shadow.backoff.maximum must be at least reset_timeout (60)"),
        ({"trip": 3}, "shadow.trip must be a trip strategy or None, got 3"),
        ({"trip": replace(SLOW, threshold=9)}, "shadow.SlowCallRate.threshold must be at most call_timeout"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(shadow: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        CircuitBreakerConfig(name="it", call_timeout=5, shadow=ShadowPolicy(**shadow))


def test_a_shadow_that_sets_nothing_and_one_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="shadow must set a key of the policy, got none"):
        ShadowPolicy()
    with pytest.raises(ValueError, match=r"shadow must be a ShadowPolicy or None, got Adaptive\("):
        CircuitBreakerConfig(name="it", shadow=Adaptive())  # type: ignore[arg-type]
