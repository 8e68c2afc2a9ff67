"""Machines whose policy has a shadow, and the counts of their shadows."""

from __future__ import annotations

from typing import Any

from actors import CircuitBreakerConfig, Machine, Permit, ShadowPolicy, ShadowSnapshot
from actors.machine.shadow import ShadowBreaker

NEVER_TRIPS = 1_000_000


def shadowed(shadow: ShadowPolicy, **policy: Any) -> Machine:
    """A machine with a shadow. Without trip or max_failures in `policy` it never opens by itself."""
    if "trip" not in policy:
        policy.setdefault("max_failures", NEVER_TRIPS)
    return Machine(CircuitBreakerConfig(name="it", shadow=shadow, **policy))


def shadow_of(it: Machine) -> ShadowBreaker:
    assert it.shadow is not None
    return it.shadow


def seen(it: Machine, now: float = 0.0) -> ShadowSnapshot:
    shadow = it.snapshot(now).shadow
    assert shadow is not None
    return shadow


def counts(shadow: ShadowSnapshot | None) -> dict[str, int]:
    """The shadow's counts as `admitted success`, without zeros."""
    assert shadow is not None
    return {
        f"{verdict} {end}": count
        for verdict, ends in shadow.calls.items()
        for end, count in ends.items()
        if count
    }


def gate_permit(it: Machine) -> Permit:
    """The permit of a call that a gate of the machine's present state would admit."""
    return Permit(it.generation, 0, shadow=shadow_of(it).gate_answer())
