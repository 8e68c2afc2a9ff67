"""Fleets on a mock clock: rules that no fault of the store or of an instance may break."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest
import trio

from actors import State
from actors.sharing.record import SharedRecord
from actors.sharing.requests import ProbeResult, Request
from tests.actors.sharing.fleets.fleet import NAME, QUICK, Fleet, run

SEEDS = int(os.environ.get("SHARING_FLEETS", "6"))
RECOVERY = 20.0 + 10.0 + 1.5
"""Seconds: the longest wait, a lease that isn't given back, and a poll with its way."""


@dataclass
class Watched:
    """The checks after every request that the store carries out."""

    fleet: Fleet
    highest: int = 0
    problems: list[str] = field(default_factory=list)

    def check(
        self, _name: str, request: Request, before: SharedRecord, after: SharedRecord, now: int
    ) -> None:
        if after.generation != before.generation:
            if after.generation <= self.highest:
                self.problems.append(f"generation {after.generation} after {self.highest}")
            self.highest = after.generation
        if after.lease_end > now and after.owner != before.owner and before.lease_end > now and before.owner:
            self.problems.append(f"{after.owner} has a lease beside {before.owner}")
        if isinstance(request, ProbeResult) and after.generation != before.generation:
            valid = before.owner == request.instance and before.lease_end > now
            if not (valid and before.generation == request.generation):
                self.problems.append(f"a result of an expired lease: {request}")

    def check_probes(self) -> None:
        probing = [one.number for one in self.fleet.instances if one.is_probing_for_all]
        if len(probing) > 1:
            self.problems.append(f"instances {probing} probe at one time")


async def _breaks(fleet: Fleet, dice: random.Random) -> None:
    """Break something, for a while."""
    store, one = fleet.store, dice.choice(fleet.instances)
    match dice.randrange(9):
        case 0:
            store.gone = True
        case 1:
            store.hangs = True
        case 2:
            store.forget()
        case 3:
            one.store.cut = True
        case 4:
            store.delay = 0.5
        case 5 if len(fleet.instances) > 3:
            one.scope.cancel()
            fleet.instances.remove(one)
        case 6:
            store.unruly = True
        case 7:
            fleet.freeze(one)
        case _:
            await fleet.add(QUICK)
    await trio.sleep(dice.uniform(0.1, 15))
    if one.frozen:
        fleet.thaw(one)
    store.gone = store.hangs = store.unruly = one.store.cut = False
    store.delay = 0.02


def size(seed: int) -> int:
    """The instances of a random fleet: every twentieth has fifty."""
    return 50 if seed % 20 == 19 else (3, 5, 8)[seed % 3]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_fault_breaks_the_lease_and_a_healed_fleet_closes(seed: int) -> None:
    async def scenario(fleet: Fleet) -> None:
        dice = random.Random(seed)
        watched = Watched(fleet)
        fleet.store.watchers.append(watched.check)
        fleet.took = lambda: dice.choice((0.0, 0.05, 0.5, 12.0))
        for _ in range(size(seed)):
            await fleet.add(QUICK)

        async def watch() -> None:
            while True:
                watched.check_probes()
                await trio.sleep(0.05)

        fleet.nursery.start_soon(watch)
        for _ in range(12):
            sick = dice.choice((0, 1, 2, 99))
            fleet.is_down = lambda number, sick=sick: number < sick
            await _breaks(fleet, dice)
            assert not watched.problems, watched.problems[:3]
        fleet.is_down = lambda number: False
        fleet.took = lambda: 0.05
        closed = lambda: all(one.state == State.CLOSED for one in fleet.instances)  # noqa: E731
        await fleet.until(closed, within=2 * RECOVERY)
        assert not watched.problems, watched.problems[:3]

    run(scenario, seed, rate=min(2, 16 / size(seed)))


@pytest.mark.parametrize("seed", range(4))
def test_a_holder_that_stood_still_beyond_its_lease_closes_nothing_with_its_success(seed: int) -> None:
    async def scenario(fleet: Fleet) -> None:
        watched = Watched(fleet)
        for _ in range(3):
            await fleet.add(QUICK)
        fleet.is_down = lambda number: True
        await fleet.until(fleet.all_open, within=10)
        fleet.took = lambda: 3.0
        holder = lambda: next((one for one in fleet.instances if one.is_probing_for_all), None)  # noqa: E731
        await fleet.until(lambda: holder() is not None, within=10)
        late = holder()
        assert late is not None
        fleet.store.watchers.append(watched.check)
        fleet.freeze(late)
        # Its dependency answers, and the others' fails.
        fleet.is_down = lambda number: number != late.number
        await trio.sleep(14)
        assert late.state == State.HALF_OPEN
        generation = fleet.store.records[NAME].generation
        fleet.thaw(late)
        await trio.sleep(1)
        assert not watched.problems
        assert late.state == State.OPEN
        assert fleet.store.records[NAME].is_open
        assert fleet.store.records[NAME].generation >= generation
        assert fleet.all_open() or holder() is not None

    run(scenario, seed, rate=2)


def test_a_task_that_waits_for_admission_gets_the_lease_of_an_idle_instance() -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(2):
            await fleet.add(QUICK)
        fleet.is_down = lambda number: True
        for _ in range(3):
            for one in fleet.instances:
                await fleet.call(one)
        await fleet.until(fleet.all_open, within=2)
        fleet.is_down = lambda number: False
        await trio.sleep(60)
        waiting = next(one for one in fleet.instances if one.state == State.OPEN)
        with trio.fail_after(4):
            await waiting.breaker.wait_until_admitting()
            await fleet.call(waiting)
        assert waiting.state == State.CLOSED

    run(scenario, 1, rate=0)


def test_a_seed_repeats_a_run_and_frozen_tasks_stand_still() -> None:
    """The private names of trio exist, and have the effect that the tests above need."""

    def play(seed: int) -> list[tuple[float, int, int]]:
        seen: list[tuple[float, int, int]] = []

        async def scenario(fleet: Fleet) -> None:
            for _ in range(4):
                await fleet.add(QUICK)
            one = fleet.instances[0]
            for step in range(60):
                fleet.is_down = lambda number, step=step: 10 < step < 30
                if step == 35:
                    fleet.freeze(one)
                    calls = one.calls
                if step == 45:
                    assert one.calls == calls
                    fleet.thaw(one)
                await trio.sleep(1)
                record = fleet.store.records[NAME]
                seen.append((trio.current_time(), record.generation, fleet.store.exchanges))
            assert one.calls > calls

        run(scenario, seed, rate=3)
        return seen

    assert play(1) == play(1)
    assert play(1) != play(2)
