"""Callers of one breaker, and calls of each outcome."""

from __future__ import annotations

import random
from collections import Counter

import trio
import trio.testing

from actors import BulkheadFullError, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from actors.machine.machine import Machine
from actors.messages import Outcome, Permit, State


class CountingCallers:
    """Callers of one breaker that count the outcomes of their calls themselves."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker = breaker
        self._chance = random.Random(7)
        self.begun = 0
        self.ended: Counter[str] = Counter()

    async def caller(self, calls: int) -> None:
        for _ in range(calls):
            self.begun += 1
            self.ended[await self._call()] += 1
            await trio.lowlevel.checkpoint()

    async def _call(self) -> str:
        outcome = self._chance.choices(("success", "failure", "ignored", "cancelled"), (6, 2, 1, 1))[0]
        with trio.CancelScope() as scope:
            try:
                await self._breaker.execute(self._work, outcome, scope)
            except (CircuitOpenError, BulkheadFullError):
                return "rejected"
            except (ValueError, KeyError):
                pass
        return outcome

    async def _work(self, outcome: str, scope: trio.CancelScope) -> None:
        for _ in range(self._chance.randrange(3)):
            await trio.lowlevel.checkpoint()
        if outcome == "cancelled":
            scope.cancel()
            await trio.lowlevel.checkpoint()
        elif outcome == "failure":
            raise ValueError
        elif outcome == "ignored":
            raise KeyError


def in_state(state: State) -> Machine:
    machine = Machine(CircuitBreakerConfig(name="it", max_failures=1, reset_timeout=1.0))
    if state in (State.OPEN, State.HALF_OPEN):
        machine.trip(0.0 if state is State.HALF_OPEN else 0.5)
        machine.wake(1.0)
    elif state is not State.CLOSED:
        machine.hold(state, 0.0, "to see")
    assert machine.state is state
    return machine


def call(machine: Machine, outcome: Outcome) -> None:
    permit = machine.admit(1.5)
    if isinstance(permit, Permit):
        machine.settle(permit, outcome, 1.5)


async def fail() -> None:
    raise ZeroDivisionError
