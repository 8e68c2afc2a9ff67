"""Fleets on a mock clock: the gain by pooling, and how all instances open and close together."""

from __future__ import annotations

import pytest
import trio

from actors import State
from tests.actors.sharing.fleets.fleet import NAME, QUICK, Fleet, run


@pytest.mark.parametrize("seed", range(2))
def test_many_rare_callers_open_together_after_few_failures(seed: int) -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(50):
            await fleet.add()
        await trio.sleep(40)
        fleet.is_down = lambda number: True
        # Alone, they need 250 failures, and most of them more than a minute.
        await fleet.until(fleet.all_open, within=30)
        assert sum(one.failures for one in fleet.instances) <= 60

    run(scenario, seed, rate=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_a_sick_minority_opens_alone(seed: int) -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(5):
            await fleet.add()
        await trio.sleep(10)
        fleet.is_down = lambda number: number < 2
        await trio.sleep(30)
        states = [one.state for one in fleet.instances]
        assert states == [State.OPEN] * 2 + [State.CLOSED] * 3
        assert sum(one.rejections for one in fleet.instances[2:]) == 0

    run(scenario, seed, rate=20)


def test_a_new_instance_adopts_a_shared_opening_with_its_first_poll() -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(3):
            await fleet.add()
        fleet.is_down = lambda number: True
        await fleet.until(fleet.all_open, within=10)
        late = await fleet.add()
        await fleet.until(lambda: late.state == State.OPEN, within=0.2)
        assert late.failures == 0

    run(scenario, 1, rate=2)


def test_an_idle_opening_recovers_by_the_first_caller_of_whichever_instance() -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(3):
            await fleet.add(QUICK)
        fleet.is_down = lambda number: True
        for _ in range(2):
            for one in fleet.instances:
                await fleet.call(one)
        await fleet.until(fleet.all_open, within=2)
        fleet.is_down = lambda number: False
        await trio.sleep(120)
        assert [one.state for one in fleet.instances].count(State.HALF_OPEN) == 1
        idle = next(one for one in fleet.instances if one.state == State.OPEN)
        with trio.fail_after(3):
            while idle.state != State.CLOSED:
                await fleet.call(idle)
                await trio.sleep(0.2)
        await fleet.until(lambda: all(one.state == State.CLOSED for one in fleet.instances), within=0.2)

    run(scenario, 1, rate=0)


def test_a_store_that_is_gone_leaves_each_instance_its_own_breaker() -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(3):
            await fleet.add(QUICK)
        fleet.store.gone = True
        await trio.sleep(4)
        assert not any(one.sharing.status().connected for one in fleet.instances)
        fleet.is_down = lambda number: number == 0
        await trio.sleep(4)
        assert [one.state for one in fleet.instances] == [State.OPEN, State.CLOSED, State.CLOSED]
        fleet.is_down = lambda number: False
        await fleet.until(lambda: fleet.instances[0].state == State.CLOSED, within=12)
        fleet.store.gone = False
        await fleet.until(lambda: all(one.sharing.status().connected for one in fleet.instances), within=1)

    run(scenario, 1, rate=5)


def test_an_opening_survives_a_store_that_has_lost_its_data() -> None:
    async def scenario(fleet: Fleet) -> None:
        for _ in range(3):
            await fleet.add()
        fleet.is_down = lambda number: True
        await fleet.until(fleet.all_open, within=10)
        generation = fleet.store.records[NAME].generation
        fleet.store.forget()
        await trio.sleep(5)
        assert fleet.all_open()
        assert fleet.store.records[NAME].is_open
        assert fleet.store.records[NAME].generation > generation

    run(scenario, 1, rate=2)


def test_a_restarted_fleet_is_not_outvoted_by_the_instances_that_have_ended() -> None:
    """Their last outcome was a success, and they take it with them."""

    async def scenario(fleet: Fleet) -> None:
        for _ in range(5):
            await fleet.add()
        await trio.sleep(10)
        for one in fleet.instances[:5]:
            await fleet.add()
            await trio.sleep(0.5)
            one.scope.cancel()
        del fleet.instances[:5]
        fleet.is_down = lambda number: True
        await fleet.until(fleet.all_open, within=3)
        assert fleet.store.records[NAME].is_open

    run(scenario, 1, rate=10)
