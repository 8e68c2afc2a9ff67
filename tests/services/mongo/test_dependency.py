"""Faults of a real MongoDB and of a real process: counts and responses."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio_asyncio
from pymongo.errors import OperationFailure, PyMongoError, WaitQueueTimeoutError

from actors import CircuitBreakerConfig, Panel, State
from runtime.web.errors import ApiError
from services.dependency import Dependency, Verdict
from services.mongo.client import Database, MongoDatabase, open_database
from services.mongo.dependency import database_dependency, mongo_verdict
from tests.mongo import Mongod

NAME = "some-database"


@pytest.fixture
def dependency(panel: Panel) -> Dependency:
    return database_dependency(panel, CircuitBreakerConfig(name=NAME, max_failures=5), "closed")


@pytest.fixture
def obliging(mongod: Mongod, tmp_path: Path) -> Iterator[Mongod]:
    """A mongod that fails commands on request."""
    started = Mongod(tmp_path, fails_on_request=True)
    try:
        started.start()
        yield started
    finally:
        started.kill()


async def _find(db: MongoDatabase) -> object:
    return await db.things.find_one({})


async def _error_response(dependency: Dependency, database: Database) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await dependency.run(database.run, _find)
    return raised.value


@pytest.mark.parametrize("code", [1, 13, 264, 14031], ids=lambda code: f"code_{code}")
async def test_a_mongod_that_refuses_everything_opens_the_breaker(
    obliging: Mongod, loop: trio_asyncio.TrioEventLoop, dependency: Dependency, panel: Panel, code: int
) -> None:
    async with open_database(obliging.uri, "x") as database:
        await dependency.run(database.run, _find)
        obliging.fail(code, "find")
        errors = [await _error_response(dependency, database) for _ in range(6)]
        obliging.fail(None)
    assert [one.code.value for one in errors] == ["DATABASE_ERROR"] * 5 + ["SERVICE_UNAVAILABLE"]
    assert {one.failure_origin for one in errors} == {NAME}
    snapshot = await panel[NAME].snapshot()
    assert (snapshot.state, snapshot.counts["failure"]) == (State.OPEN, 5)
    assert f"({code})" in (snapshot.last_failure or "")


async def test_a_refusal_of_one_requests_values_is_no_failure(
    database: Database, dependency: Dependency, panel: Panel
) -> None:
    async def bad(db: MongoDatabase) -> object:
        return await db.things.find_one({"$nor": 1})

    with pytest.raises(OperationFailure):
        await dependency.run(database.run, bad)
    assert (await panel[NAME].snapshot()).counts["success"] == 1


@contextmanager
def no_files_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    held: list[int] = []
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_lack_of_files_is_no_failure_of_the_database(
    mongod: Mongod, loop: trio_asyncio.TrioEventLoop, dependency: Dependency, panel: Panel
) -> None:
    async with open_database(mongod.uri, "x") as database:
        with no_files_left():
            error = await _error_response(dependency, database)
        await dependency.run(database.run, _find)
    assert error.headers() == {"Retry-After": "1"}
    counts = (await panel[NAME].snapshot()).counts
    assert (counts["failure"], counts["ignored"], counts["success"]) == (0, 1, 1)


async def test_a_full_pool_is_no_failure_of_the_database(
    mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    verdicts: list[Verdict] = []

    async def slow(db: MongoDatabase) -> object:
        return await db.things.find_one({"$where": "sleep(3000) || true"})

    async def find_slowly(database: Database) -> None:
        with pytest.raises(PyMongoError) as raised:
            await database.run(slow)
        if isinstance(raised.value, WaitQueueTimeoutError):
            verdicts.append(mongo_verdict(raised.value))

    async with open_database(f"{mongod.uri}&maxPoolSize=1", "pool", seconds=1) as database:
        await database.run(lambda db: db.things.insert_one({}))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(find_slowly, database)
        await database.run(lambda db: db.client.drop_database("pool"))
    assert verdicts
    assert set(verdicts) == {Verdict.POOL_FULL}
