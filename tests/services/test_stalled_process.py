"""A stalled service counts no failures for the time in which it stalled."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio_asyncio

from actors import CircuitBreakerConfig, Panel, State
from protocols.http import Code
from runtime.serving.loop_time import LoopTime
from runtime.web.errors import ApiError
from services.mongo.client import MongoDatabase, open_database
from services.mongo.dependency import database_dependency
from tests.mongo import Mongod

FROZEN = 2.5
NAME = "x-database"
Operation = Callable[[MongoDatabase], Awaitable[object]]


async def _slow_find(db: MongoDatabase) -> object:
    return await db.things.find_one({"$where": "sleep(300) || true"})


async def _black_hole(db: MongoDatabase) -> object:
    return await db.things.find_one({"$where": "sleep(5000) || true"})


@pytest.fixture
async def loop_time(nursery: trio.Nursery) -> LoopTime:
    """It runs."""
    made = LoopTime()
    await nursery.start(made.run)
    return made


async def _calls(
    panel: Panel, loop_time: LoopTime, mongod: Mongod, operation: Operation, frozen: float
) -> list[object]:
    """The outcomes of six calls during which the process stalls."""
    dependency = database_dependency(panel, CircuitBreakerConfig(name=NAME), "open", loop_time)
    outcomes: list[object] = []

    async def call() -> None:
        try:
            outcomes.append(await dependency.run(database.run, operation))
        except ApiError as error:
            outcomes.append(error)

    async with open_database(mongod.uri, "frozen", seconds=1) as database:
        await database.run(lambda db: db.things.replace_one({"_id": 1}, {}, upsert=True))
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(call)
            await trio.sleep(0.2)
            time.sleep(frozen)  # noqa: ASYNC251 - the whole process stands still
    return outcomes


async def test_a_response_that_arrived_during_a_freeze_is_no_failure(
    mongod: Mongod, loop: trio_asyncio.TrioEventLoop, panel: Panel, loop_time: LoopTime
) -> None:
    outcomes = await _calls(panel, loop_time, mongod, _slow_find, FROZEN)
    counts = (await panel[NAME].snapshot()).counts
    assert counts["failure"] == 0
    assert counts["ignored"] + counts["success"] == 6
    for error in outcomes:
        if isinstance(error, ApiError):
            # The error names its breaker, so that the gateway, which may have stalled too, counts nothing.
            assert (error.code, error.failure_origin) == (Code.SERVICE_UNAVAILABLE, NAME)


async def test_a_time_out_after_short_freezes_is_a_failure(
    mongod: Mongod, loop: trio_asyncio.TrioEventLoop, panel: Panel, loop_time: LoopTime
) -> None:
    outcomes = await _calls(panel, loop_time, mongod, _black_hole, 0.4)
    assert {error.failure_origin for error in outcomes if isinstance(error, ApiError)} == {NAME}
    assert len(outcomes) == 6
    assert panel[NAME].state is State.OPEN
