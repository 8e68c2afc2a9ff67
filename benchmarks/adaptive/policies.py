"""The policies that are compared: those of this package, driven as the actor drives them, and the rivals."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from actors import (
    Adaptive,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureRate,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Permit,
    State,
)

from .rivals import GoogleSre, GoZero, Semian
from .simulator import Policy

NEVER = float("inf")


class OnMachine:
    """A real Machine, driven as the actor drives it: most successes wait, and are folded in."""

    __slots__ = ("_fast", "_machine", "_permit", "_roll", "_since", "_until", "_waiting", "transitions")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._machine = Machine(config)
        self._waiting = 0
        self._since = 0.0
        self.transitions: list[tuple[float, State, State, str]] = []
        self._look(0.0)

    def _look(self, now: float) -> None:
        machine = self._machine
        self._fast = machine.admits_all and machine.batches_successes
        self._permit = Permit(machine.generation, 0)
        roll, deadline = machine.next_roll(now), machine.deadline
        self._until = machine.until
        self._roll = min(NEVER if roll is None else roll, NEVER if deadline is None else deadline)
        for event in machine.drain():
            self.transitions.append((event.time, event.old, event.new, event.reason))

    def _fold(self, now: float) -> None:
        if self._waiting:
            self._machine.fold(self._waiting, self._waiting, 0, 0, self._since)
            self._waiting = 0
        self._since = now

    def _catch_up(self, now: float) -> None:
        """Wake at each deadline until `now`, as a task would."""
        while self._roll <= now:
            moment = self._roll
            self._fold(moment)
            self._machine.wake(moment)
            self._look(moment)

    def admit(self, now: float) -> Any:
        if self._roll <= now:
            self._catch_up(now)
        if self._fast:
            return self._permit
        if now < self._until:
            return None
        self._fold(now)
        permit = self._machine.admit(now)
        self._look(now)
        return permit if isinstance(permit, Permit) else None

    def settle(self, permit: Permit, ok: bool, now: float) -> None:
        if self._roll <= now:
            self._catch_up(now)
        if ok and self._fast and permit == self._permit:
            self._waiting += 1
            return
        self._fold(now)
        if permit.number == 0:
            self._machine.statistics.in_flight += 1
        self._machine.settle(permit, Outcome.SUCCESS if ok else Outcome.FAILURE, now)
        self._look(now)


class Nothing:
    """No breaker."""

    def admit(self, now: float) -> Any:
        return True

    def settle(self, permit: Any, ok: bool, now: float) -> None:
        pass


def on_machine(**policy: Any) -> Callable[[], Policy]:
    """A factory of breakers with this policy."""
    config = CircuitBreakerConfig(name="it", **policy)
    return lambda: OnMachine(config)


def adaptive(**parameters: Any) -> Callable[[], Policy]:
    """Ours."""
    return on_machine(trip=Adaptive(**parameters))


def rivals() -> dict[str, Callable[[], Policy]]:
    """All that aren't tuned here, by name."""
    return {
        "none": Nothing,
        "5 failures, 60 s": on_machine(max_failures=5, reset_timeout=60.0),
        "window 50 %": on_machine(
            trip=FailureRate(rate=0.5, window=LastCalls(100), minimum_calls=20),
            reset_timeout=60.0,
            half_open_max_calls=10,
            half_open_failure_rate=0.5,
        ),
        "semian PID": lambda: Semian(random.Random(1)),
        "Google SRE, K = 2": lambda: GoogleSre(random.Random(1)),
        "go-zero": lambda: GoZero(random.Random(1), count_drops=True),
        "go-zero, #5551": lambda: GoZero(random.Random(1), count_drops=False),
    }


def constants(rate: float) -> dict[str, Callable[[], Policy]]:
    """The grid of fixed policies from which the best are taken in hindsight."""
    return {name: on_machine(**policy) for name, policy in fixed(rate).items()}


def fixed(rate: float) -> dict[str, dict[str, Any]]:
    """By name, the values of fixed policies for so many calls a second."""
    waits = (1.0, 3.0, 10.0, 30.0) if rate >= 5 else (10.0, 30.0, 100.0, 300.0)
    grid: dict[str, dict[str, Any]] = {}
    for wait in waits:
        for n in (3, 5, 10, 20, 50):
            grid[f"{n} failures, {wait:g} s"] = {"trip": ConsecutiveFailures(n), "reset_timeout": wait}
        for share, least in ((0.5, 10), (0.5, 30), (0.7, 10)):
            window = LastSeconds(10.0 if rate >= 5 else 300.0)
            grid[f"{share:.0%} of {window.s:g} s (at least {least}), {wait:g} s"] = {
                "trip": FailureRate(rate=share, window=window, minimum_calls=least),
                "reset_timeout": wait,
            }
    return grid
