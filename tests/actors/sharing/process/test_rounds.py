"""Real processes and a real Valkey: rules that no fault may break."""

from __future__ import annotations

import os
import random

from tests.actors.sharing.process.fleet import running_fleet
from tests.actors.sharing.process.rounds import ROUNDS, Round
from tests.actors.sharing.process.upstream import Mode
from tests.valkey import ValkeyServer

COUNT = int(os.environ.get("SHARING_ROUNDS", "4"))
SEED = int(os.environ.get("SHARING_SEED", "0"))
CLOSED_SECONDS = 8.0
"""A lease that isn't given back, two waits, and polls."""


def chosen(dice: random.Random) -> list[Round]:
    """The first four, or each as often as the others in a random order."""
    if COUNT <= 4:
        return list(ROUNDS[:COUNT])
    taken = [one for _ in range(-(-COUNT // len(ROUNDS))) for one in dice.sample(ROUNDS, len(ROUNDS))]
    return taken[:COUNT]


async def test_random_rounds_of_faults(valkey: ValkeyServer) -> None:
    dice = random.Random(SEED)
    async with running_fleet(valkey) as fleet:
        for number, play in enumerate(chosen(dice)):
            fleet.begin()
            print(f"round {number} of seed {SEED}: {play.__name__}")  # noqa: T201
            await play(fleet, dice)
            fleet.upstream.change(lambda name: Mode.ANSWERS)
            closed = lambda: fleet.all_are("CLOSED") and fleet.all_connected()  # noqa: E731
            await fleet.until(closed, within=CLOSED_SECONDS)
            assert fleet.upstream.overlaps == []
            assert {one.name: one.errors for one in fleet.instances.values() if one.errors} == {}
