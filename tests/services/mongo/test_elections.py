"""A replica set of three that loses its primary: waiting while another can be expected, and no longer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
import trio
import trio_asyncio
from pymongo.errors import AutoReconnect, PyMongoError

from actors import CircuitBreakerConfig, Panel
from services.dependency import Dependency
from services.failure_reason import failure_reason
from services.mongo.client import Database, MongoDatabase, open_database
from services.mongo.dependency import database_dependency
from services.mongo.repository import MongoRepository, Record, Unique
from tests.mongo import Mongod, ReplicaSet

NAME = "some-database"


@pytest.fixture
def replicas(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Depends on `mongod` so that the test is skipped without one."""
    started = ReplicaSet(tmp_path_factory.mktemp("replicas"))
    try:
        started.start()
        yield started
    finally:
        started.kill()


@pytest.fixture
async def elected(replicas: ReplicaSet, loop: trio_asyncio.TrioEventLoop) -> AsyncIterator[Database]:
    async with open_database(replicas.uri, "x") as opened:
        yield opened


@pytest.fixture
def dependency(panel: Panel) -> Dependency:
    return database_dependency(panel, CircuitBreakerConfig(name=NAME), "closed")


class Load:
    """Creates, reads, lists and changes records all the time; nothing may fail."""

    def __init__(self, database: Database, dependency: Dependency) -> None:
        self.repository = MongoRepository(database, "things", [Unique("word", ("word",))])
        self.created: list[str] = []
        self.slowest = 0.0
        self._database = database
        self._dependency = dependency

    async def begin(self) -> None:
        """Create the first record once the members accept writes."""
        writes = False
        with trio.fail_after(60):
            while not writes:
                with suppress(PyMongoError):
                    await self._database.run(lambda db: db.others.insert_one({}))
                    writes = True
        await self._create("first")

    async def run(self, seconds: float) -> None:
        end = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            while trio.current_time() < end:
                nursery.start_soon(self._once, self._create, os.urandom(8).hex())
                nursery.start_soon(self._once, self.repository.get, 1)
                nursery.start_soon(self._once, self.repository.page, 1000, 0)
                nursery.start_soon(self._once, self.repository.update_all, {"group": 1}, {"name": "x"})
                await trio.sleep(0.2)

    async def _create(self, word: str) -> None:
        record = await self.repository.create({"word": word, "group": 1})
        assert isinstance(record, dict)
        self.created.append(word)

    async def _once(self, operation: Callable[..., Awaitable[object]], *args: object) -> None:
        started = trio.current_time()
        await self._dependency.run(operation, *args)
        self.slowest = max(self.slowest, trio.current_time() - started)

    async def kept(self) -> list[str]:
        found: list[Record] = await self.repository.page(10_000, 0)
        return sorted(str(record["word"]) for record in found)


async def test_an_election_of_three_seconds_causes_waiting_and_no_failure(
    replicas: ReplicaSet, elected: Database, dependency: Dependency, panel: Panel
) -> None:
    load = Load(elected, dependency)
    await load.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 5)
        await trio.sleep(1)
        await trio.to_thread.run_sync(replicas.elect_after, 3)
    assert load.slowest > 2
    assert (await panel[NAME].snapshot()).counts["failure"] == 0
    assert await load.kept() == sorted(load.created)


@pytest.mark.resilience
async def test_a_killed_primary_causes_waiting_and_every_write_exists_once(
    replicas: ReplicaSet, elected: Database, dependency: Dependency, panel: Panel
) -> None:
    load = Load(elected, dependency)
    await load.begin()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, 4)
        await trio.sleep(1)
        await trio.to_thread.run_sync(lambda: replicas.primary().kill())
    assert (await panel[NAME].snapshot()).counts["failure"] == 0
    assert await load.kept() == sorted(load.created)


async def _find(db: MongoDatabase) -> object:
    return await db.things.find_one({})


async def _fails_within(database: Database, seconds: float) -> None:
    with trio.fail_after(seconds), pytest.raises(PyMongoError):
        await database.run(_find)


async def test_each_call_fails_within_about_a_second_if_all_members_are_dead(
    replicas: ReplicaSet, elected: Database
) -> None:
    await elected.run(_find)
    replicas.kill()
    for _ in range(3):
        await _fails_within(elected, 1.6)


@pytest.mark.resilience
async def test_calls_do_not_wait_forever_for_a_member_without_a_majority(
    replicas: ReplicaSet, elected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers as a secondary."""
    monkeypatch.setattr("services.mongo.client.ELECTION_SECONDS", 2.0)
    await elected.run(_find)
    primary = replicas.primary()
    primary.kill()
    next(member for member in replicas.members if member is not primary).kill()
    await _fails_within(elected, 4.5)
    for _ in range(2):
        await _fails_within(elected, 1.6)


async def _sleep(db: MongoDatabase) -> None:
    await db.things.insert_one({"_id": 1})
    await db.things.find_one({"$where": "sleep(10000) || true"})


async def test_a_call_in_flight_to_a_dead_server_fails_within_about_a_second(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with open_database(own_mongod.uri, "x") as database, trio.open_nursery() as nursery:

        async def sleep_in_server() -> None:
            with pytest.raises(PyMongoError):
                await database.run(_sleep)

        nursery.start_soon(sleep_in_server)
        await trio.sleep(0.3)
        own_mongod.kill()
        nursery.cancel_scope.deadline = trio.current_time() + 2
    assert not nursery.cancel_scope.cancelled_caught


@pytest.mark.parametrize(("idempotent", "times"), [(True, 2), (False, 1)])
async def test_only_an_idempotent_operation_is_repeated_and_only_once(
    database: Database, idempotent: bool, times: int
) -> None:
    attempts = 0

    async def lose(db: MongoDatabase) -> None:
        nonlocal attempts
        attempts += 1
        raise AutoReconnect("lost")

    with pytest.raises(AutoReconnect):
        await database.run(lose, idempotent=idempotent)
    assert attempts == times


async def test_the_error_has_the_reason_why_no_server_is_known(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    own_mongod.kill()
    async with open_database(own_mongod.uri, "x") as database:
        with pytest.raises(PyMongoError) as raised:
            await database.run(_find)
    assert f"127.0.0.1:{own_mongod.port}: [Errno 111] Connect call failed" in failure_reason(raised.value)
