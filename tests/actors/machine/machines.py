"""Machines to test, without an actor around them, and short names for their tables."""

from __future__ import annotations

from actors import CircuitBreakerConfig, Machine, Outcome, Permit, Source, State

FAILURE, SUCCESS, IGNORED, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED

C, H, O, F, D, W = State
"""In order: CLOSED, HALF_OPEN, OPEN, FORCED_OPEN, DISABLED and OBSERVING (it watches)."""


def machine(state: State = State.CLOSED, **policy: object) -> Machine:
    """A machine brought into `state` at time 0; half-open at 60."""
    made = Machine(CircuitBreakerConfig(name="it", **policy))  # type: ignore[arg-type]
    match state:
        case State.OPEN:
            made.trip(0)
        case State.HALF_OPEN:
            made.trip(-60)
            made.wake(0)
        case State.FORCED_OPEN | State.DISABLED | State.OBSERVING:
            made.hold(state, 0, "told")
    made.drain()
    return made


def admitted(it: Machine, now: float = 0, source: Source | None = None) -> Permit:
    """The permit of a call that the machine admits."""
    permit = it.admit(now, source=source)
    assert isinstance(permit, Permit), permit
    return permit


def call(it: Machine, outcome: Outcome, now: float = 0) -> bool:
    """Admit and settle a call; return whether it was in time."""
    return it.settle(admitted(it, now), outcome, now)
