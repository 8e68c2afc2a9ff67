"""MongoDB behind trio: limits, cancellation, numbering."""

from __future__ import annotations

import pytest
import trio
import trio_asyncio
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, PyMongoError

from services.mongo.client import Database, MongoDatabase, open_database
from services.mongo.id_sequence import IdSequence
from tests.mongo import Mongod, free_port


async def _sleep_in_the_server(db: MongoDatabase) -> None:
    await db.things.insert_one({"_id": 1})
    await db.things.find_one({"$where": "sleep(10000) || true"})


@pytest.fixture
def numbering() -> IdSequence:
    return IdSequence("things", [IndexModel("word", unique=True)])


async def _add(numbering: IdSequence, db: MongoDatabase, word: str) -> int:
    number = await numbering.next(db)
    await db.things.insert_one({"_id": number, "word": word})
    return number


async def test_an_operation_returns_what_the_driver_returns(database: Database) -> None:
    await database.run(lambda db: db.things.insert_one({"_id": 1, "word": "one"}))
    assert await database.run(lambda db: db.things.find_one({"_id": 1})) == {"_id": 1, "word": "one"}


async def test_writes_wait_for_the_journal_of_a_majority(database: Database) -> None:
    async def concern(db: MongoDatabase) -> dict[str, object]:
        return db.write_concern.document

    assert await database.run(concern) == {"w": "majority", "j": True}


async def test_the_driver_gives_up_before_the_callers_deadline(database: Database) -> None:
    with trio.fail_after(1), pytest.raises(PyMongoError) as raised:
        await database.run(_sleep_in_the_server)
    assert raised.value.timeout


async def test_a_caller_with_little_time_is_cancelled_and_counts_neither_way(database: Database) -> None:
    with trio.move_on_after(0.1) as scope:
        await database.run(_sleep_in_the_server)
    assert scope.cancelled_caught


async def test_cancelling_ends_the_operation_in_the_server_at_once(database: Database) -> None:
    with trio.move_on_after(10) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run, _sleep_in_the_server)
            await _until(database, running=True)
            nursery.cancel_scope.cancel()
        started = trio.current_time()
        await _until(database, running=False)
        assert trio.current_time() - started < 0.3
    assert not scope.cancelled_caught


async def _until(database: Database, *, running: bool) -> None:
    while await _running(database) != running:  # noqa: ASYNC110 - the server has no event
        await trio.sleep(0.02)


async def _running(database: Database) -> bool:
    name = await database.run(_name)

    async def find(db: MongoDatabase) -> bool:
        cursor = await db.client.admin.aggregate(
            [{"$currentOp": {}}, {"$match": {"ns": f"{name}.things", "op": "query"}}]
        )
        return bool(await cursor.to_list())

    return await database.run(find)


async def _name(db: MongoDatabase) -> str:
    return db.name


async def test_without_a_server_an_operation_fails_within_two_seconds(
    loop: trio_asyncio.TrioEventLoop,
) -> None:
    async with open_database(f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0", "x") as absent:
        with trio.fail_after(2), pytest.raises(PyMongoError):
            await absent.run(lambda db: db.things.find_one({}))


async def test_numbers_are_given_once_each_to_racing_callers(
    database: Database, numbering: IdSequence
) -> None:
    numbers: list[int] = []

    async def take() -> None:
        numbers.append(await database.run(numbering.next))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(take)
    assert sorted(numbers) == list(range(1, 21))


async def test_the_indexes_stand_before_the_first_number(database: Database, numbering: IdSequence) -> None:
    await database.run(lambda db: _add(numbering, db, "same"))
    with pytest.raises(DuplicateKeyError):
        await database.run(lambda db: _add(numbering, db, "same"))


async def test_an_index_that_is_new_in_this_release_stands_before_its_first_number(
    database: Database,
) -> None:
    older = IdSequence("things", [IndexModel("other")])
    await database.run(older.next)
    newer = IdSequence("things", [IndexModel("word", unique=True)])
    await database.run(newer.next)
    assert "word_1" in await database.run(lambda db: db.things.index_information())


async def test_the_indexes_come_back_after_the_database_was_dropped(
    database: Database, numbering: IdSequence
) -> None:
    await database.run(lambda db: _add(numbering, db, "same"))
    await database.run(lambda db: db.client.drop_database(db.name))
    await database.run(lambda db: _add(numbering, db, "same"))
    with pytest.raises(DuplicateKeyError):
        await database.run(lambda db: _add(numbering, db, "same"))


async def test_numbering_goes_on_after_the_highest_id_if_the_counter_was_lost(
    database: Database, numbering: IdSequence
) -> None:
    await database.run(lambda db: _add(numbering, db, "one"))
    await database.run(lambda db: db.counters.delete_many({}))
    assert await database.run(lambda db: _add(numbering, db, "two")) == 2


async def test_a_killed_server_is_found_again_when_it_is_back(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop, numbering: IdSequence
) -> None:
    async with open_database(own_mongod.uri, "x", seconds=1) as database:
        await database.run(lambda db: _add(numbering, db, "one"))
        own_mongod.kill()
        with pytest.raises(PyMongoError):
            await database.run(lambda db: _add(numbering, db, "two"))
        await trio.to_thread.run_sync(own_mongod.start)
        with trio.fail_after(5):
            assert await database.run(lambda db: db.things.find_one({"word": "one"}))
