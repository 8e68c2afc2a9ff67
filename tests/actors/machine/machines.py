"""Machines to test, without an actor around them."""

from __future__ import annotations

from actors import CircuitBreakerConfig, Machine, State


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
