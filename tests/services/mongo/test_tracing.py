"""Each command to MongoDB is a span below its operation, without the command's values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
from opentelemetry.trace import StatusCode
from pymongo.errors import DuplicateKeyError

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from runtime.observability import tracing
from services.mongo.client import Database, MongoDatabase
from tests.spans import Seen, recorded


@pytest.fixture
def seen() -> Iterator[Seen]:
    with recorded() as spans:
        yield spans


@pytest.fixture
def breaker(seen: Seen, panel: Panel) -> CircuitBreaker:
    return tracing.traced_breaker(panel.breaker(CircuitBreakerConfig(name="it-database")))


async def test_commands_are_spans_below_the_call(
    seen: Seen, breaker: CircuitBreaker, database: Database
) -> None:
    async def use(db: MongoDatabase) -> None:
        await db.things.insert_one({"_id": 1, "word": "hush"})
        await db.things.find_one({"word": "hush"})

    await breaker.execute(database.run, use)
    assert [line for line in seen.tree() if "ping" not in line] == [
        "it-database",
        "  insert things",
        "  find things",
    ]
    attributes = dict(seen.one("insert things").attributes or {})
    assert {
        "db.system.name": "mongodb",
        "db.operation.name": "insert",
        "db.collection.name": "things",
    }.items() <= (attributes.items())
    assert "hush" not in "".join(span.to_json() for span in seen.spans)


async def test_a_page_beyond_the_first_names_its_collection(
    seen: Seen, breaker: CircuitBreaker, database: Database
) -> None:
    async def use(db: MongoDatabase) -> int:
        await db.things.insert_many([{"_id": n} for n in range(5)])
        return len([one async for one in db.things.find().batch_size(3)])

    assert await breaker.execute(database.run, use) == 5
    assert seen.one("getMore things").status.status_code is StatusCode.UNSET


async def test_the_span_of_a_failed_command_has_its_code(
    seen: Seen, breaker: CircuitBreaker, database: Database
) -> None:
    async def fail(db: MongoDatabase) -> None:
        await db.command("no-such-command")

    async def twice(db: MongoDatabase) -> None:
        await db.things.insert_one({"_id": 1})
        await db.things.insert_one({"_id": 1})

    with pytest.raises(Exception, match="no such command"):
        await breaker.execute(database.run, fail)
    failed = seen.one("no-such-command")
    assert failed.status.status_code == StatusCode.ERROR
    assert dict(failed.attributes or {})["error.type"] == "59"
    with pytest.raises(DuplicateKeyError):
        await breaker.execute(database.run, twice)


async def test_a_cancelled_command_leaves_the_next_one_alone(
    seen: Seen, breaker: CircuitBreaker, database: Database
) -> None:
    async def sleep(db: MongoDatabase) -> None:
        await db.things.insert_one({"_id": 1})
        await db.things.find_one({"$where": "sleep(5000) || true"})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, database.run, sleep)
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
    await breaker.execute(database.run, lambda db: db.things.find_one({"_id": 1}))
    first, second = (span for span in seen.spans if span.name == "it-database")
    assert [event.name for event in first.events] == ["circuit_breaker.admitted", "circuit_breaker.cancelled"]
    assert seen.one("find things").parent == second.context


async def test_a_command_outside_a_trace_has_no_span(seen: Seen, database: Database) -> None:
    await database.run(lambda db: db.things.find_one({}))
    assert seen.spans == []
