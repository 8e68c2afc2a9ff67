"""Play calls on a machine as a word: a letter for each call."""

from __future__ import annotations

from actors import CircuitBreakerConfig, Machine, Outcome, Permit, State, TripStrategy


def tripped_by_call(
    trip: TripStrategy, steps: str, *, every: float = 0, slow: float = 9.0, **policy: object
) -> int | None:
    """Play S, F, I (ignored) and L (a slow success), `every` seconds apart. Return the index that tripped."""
    it = Machine(CircuitBreakerConfig(name="it", trip=trip, **policy))  # type: ignore[arg-type]
    for place, step in enumerate(steps):
        now = place * every
        permit = it.admit(now)
        assert isinstance(permit, Permit)
        outcome = {"F": Outcome.FAILURE, "I": Outcome.IGNORED}.get(step, Outcome.SUCCESS)
        it.settle(permit, outcome, now, slow if step == "L" else 0.1)
        if it.state is State.OPEN:
            return place
    return None


def counted(trip: TripStrategy, steps: str, **policy: object) -> tuple[int, int]:
    """Play the steps as `tripped_by_call` does; return failure_count and slow_count. D is a slow failure."""
    it = Machine(CircuitBreakerConfig(name="it", trip=trip, **policy))  # type: ignore[arg-type]
    play(it, steps)
    return it.failure_count, it.slow_count


def play(it: Machine, steps: str, now: float = 0) -> None:
    for step in steps:
        permit = it.admit(now)
        assert isinstance(permit, Permit)
        outcome = {"F": Outcome.FAILURE, "D": Outcome.FAILURE, "I": Outcome.IGNORED}.get(
            step, Outcome.SUCCESS
        )
        it.settle(permit, outcome, now, 9.0 if step in "LD" else 0.1)
