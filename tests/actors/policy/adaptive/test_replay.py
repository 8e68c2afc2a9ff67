"""The same calls give the same transitions: twice, and through the actor, which folds successes later."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock

from actors import (
    Adaptive,
    CallRejected,
    CircuitBreakerConfig,
    Machine,
    Outcome,
    Permit,
    State,
    Transition,
    open_panel,
)

CONFIG = CircuitBreakerConfig(name="it", trip=Adaptive())


class Planned(NamedTuple):
    """One call: when it comes, how long it takes, and whether it fails."""

    start: float
    takes: float
    fails: bool


def plan(seed: int, rate: float, seconds: float, share: Callable[[float], float]) -> list[Planned]:
    """A Poisson stream of calls. share: of calls that fail at a time."""
    dice = random.Random(seed)
    calls, now = [], 0.0
    while (now := now + dice.expovariate(rate)) < seconds:
        calls.append(Planned(now, dice.uniform(0.01, 0.2), dice.random() < share(now)))
    return calls


def outage(now: float) -> float:
    return 1.0 if 30 <= now < 60 else 0.02


def partial(now: float) -> float:
    return 0.7 if 30 <= now < 90 else 0.1


def wave(now: float) -> float:
    return 0.5 + 0.5 * math.sin(now / 10)


Seen = list[tuple[State, State, str, float]]


def seen(events: list[Transition]) -> Seen:
    return [(event.old, event.new, event.reason, event.time) for event in events]


def by_machine(calls: list[Planned]) -> tuple[Seen, list[bool]]:
    """The transitions of a machine, and which calls it admitted."""
    machine, admitted = Machine(CONFIG), []
    ends: list[tuple[float, int, Permit, bool]] = []
    events: list[Transition] = []

    def wake(until: float) -> None:
        while machine.deadline is not None and machine.deadline <= until:
            machine.wake(machine.deadline)

    def end_calls(until: float) -> None:
        while ends and ends[0][0] <= until:
            now, _, permit, fails = heapq.heappop(ends)
            wake(now)
            machine.settle(permit, Outcome.FAILURE if fails else Outcome.SUCCESS, now)

    for number, call in enumerate(calls):
        end_calls(call.start)
        wake(call.start)
        permit = machine.admit(call.start)
        admitted.append(isinstance(permit, Permit))
        if isinstance(permit, Permit):
            heapq.heappush(ends, (call.start + call.takes, number, permit, call.fails))
        events += machine.drain()
    end_calls(math.inf)
    return seen(events + machine.drain()), admitted


def by_actor(calls: list[Planned]) -> tuple[Seen, list[bool]]:
    """The same of a breaker of a panel, on a clock that jumps."""
    admitted = [True] * len(calls)
    found: Seen = []

    async def operation(call: Planned) -> None:
        await trio.sleep_until(call.start + call.takes)
        if call.fails:
            raise OSError("down")

    async def main() -> None:
        async with open_panel() as panel, trio.open_nursery() as nursery:
            breaker = panel.breaker(CONFIG)

            async def watch() -> None:
                async with panel.events(10_000) as events:
                    async for event in events:
                        assert isinstance(event, Transition)
                        found.extend(seen([event]))

            async def caller(number: int, call: Planned) -> None:
                try:
                    await breaker.execute(operation, call)
                except CallRejected:
                    admitted[number] = False
                except OSError:
                    pass

            nursery.start_soon(watch)
            async with trio.open_nursery() as callers:
                for number, call in enumerate(calls):
                    await trio.sleep_until(call.start)
                    callers.start_soon(caller, number, call)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return found, admitted


@pytest.mark.parametrize("share", [outage, partial, wave])
@pytest.mark.parametrize("rate", [0.5, 5, 40])
def test_the_actor_does_what_the_machine_does(rate: float, share: Callable[[float], float]) -> None:
    calls = plan(3, rate, 120, share)
    expected, admitted = by_machine(calls)
    found, by_it = by_actor(calls)
    assert [one[:3] for one in found] == [one[:3] for one in expected]
    assert [one[3] for one in found] == pytest.approx([one[3] for one in expected])
    assert by_it == admitted
    # Otherwise nothing was compared.
    assert rate < 1 or (len(expected) > 3 and not all(admitted))


@pytest.mark.parametrize("seed", range(5))
def test_the_same_log_twice_gives_the_same(seed: int) -> None:
    calls = plan(seed, 20, 120, partial)
    assert by_machine(calls) == by_machine(calls)


@pytest.mark.parametrize("seed", range(20))
def test_successes_that_wait_to_be_folded_change_nothing(seed: int) -> None:
    """As the actor folds them: before any other message, and at the end of each second with calls."""
    dice = random.Random(seed)
    one_by_one, folded = Machine(CONFIG), Machine(CONFIG)
    waiting, since, now = 0, 0.0, 0.0
    for _ in itertools.repeat(None, 1500):
        gap = dice.expovariate(dice.choice((0.5, 5.0, 200.0)))
        target = now + gap
        while (roll := folded.next_roll(now)) is not None and roll <= target:
            folded.fold(waiting, waiting, 0, 0, since)
            waiting, since, now = 0, roll, roll
            folded.wake(roll)
        now = target
        fails = dice.random() < 0.3
        permit = one_by_one.admit(now)
        if folded.admits_all and folded.batches_successes and not fails:
            waiting += 1
        else:
            folded.fold(waiting, waiting, 0, 0, since)
            waiting, since = 0, now
            other = folded.admit(now)
            assert bool(other) == bool(permit)
            if isinstance(other, Permit):
                folded.settle(other, Outcome.FAILURE if fails else Outcome.SUCCESS, now)
        if isinstance(permit, Permit):
            one_by_one.settle(permit, Outcome.FAILURE if fails else Outcome.SUCCESS, now)
        if not waiting:
            assert folded.snapshot(now).learned == one_by_one.snapshot(now).learned
    assert seen(folded.drain()) == seen(one_by_one.drain())
