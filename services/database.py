"""MongoDB as the services use it: trio in front, pymongo's asyncio client behind, a time limit on everything.

Nothing here knows of breakers; `services.guard` puts one around these operations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import pymongo
import trio
from pymongo import AsyncMongoClient, IndexModel, ReturnDocument
from pymongo.asynchronous.database import AsyncDatabase
from trio_asyncio import aio_as_trio

from runtime import telemetry
from services.deadlines import seconds_for_call

T = TypeVar("T")
Document = dict[str, Any]
MongoDatabase = AsyncDatabase[Document]

OPERATION_SECONDS = 5.0
# How long an operation waits for a server while none is known: a caller shouldn't wait longer to hear of it.
# pymongo looks twice a second, so this ends after one second.
SELECTION_SECONDS = 0.9
IDLE_SECONDS = 30.0
"""After which a connection that a burst of calls has opened is closed again."""
CONNECT_SECONDS = 2.0


class Database:
    """One database of one MongoDB. Use it inside the `trio_asyncio.open_loop()` it was opened in."""

    def __init__(self, database: MongoDatabase, seconds: float = OPERATION_SECONDS) -> None:
        self._database = database
        self._seconds = seconds

    async def run(self, operation: Callable[[MongoDatabase], Awaitable[T]]) -> T:
        """Await `operation(database)`, an asyncio function, within a time limit.

        The limit is `seconds`, or less where the caller's deadline is nearer. Raises what pymongo raises
        (a limit that passed is one with `.timeout` set). Cancelling closes the operation's connection.
        """
        return cast(T, await aio_as_trio(self._limited)(operation, seconds_for_call(self._seconds)))

    async def _limited(self, operation: Callable[[MongoDatabase], Awaitable[T]], seconds: float) -> T:
        with pymongo.timeout(seconds):
            await self._find_server()
            return await operation(self._database)

    async def _find_server(self) -> None:
        """Wait for a server where none is known; in pymongo that may take as long as the operation."""
        client = self._database.client
        if not client.topology_description.has_writable_server():
            with pymongo.timeout(SELECTION_SECONDS):
                await client.admin.command("ping")


@asynccontextmanager
async def open_database(
    uri: str, name: str, *, seconds: float = OPERATION_SECONDS
) -> AsyncIterator[Database]:
    """A client for database `name` at `uri`, closed on leaving. Doesn't connect: MongoDB may come up later.

    seconds: the longest any operation may take; while no server is known, about one. Every write waits for
    a majority's journal, because mongod's default loses acknowledged writes when it is killed. Must be
    inside `trio_asyncio.open_loop()`.
    """
    client = await aio_as_trio(_connect)(uri, seconds)
    try:
        yield Database(client[name], seconds)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
            await aio_as_trio(client.close)()


async def _connect(uri: str, seconds: float) -> AsyncMongoClient[Document]:
    return AsyncMongoClient(
        uri,
        w="majority",
        journal=True,
        retryWrites=True,
        # A duplicate-key error quotes the key, cut at a byte: read strictly, that would be another error.
        unicode_decode_error_handler="replace",
        timeoutMS=int(seconds * 1000),
        serverSelectionTimeoutMS=int(SELECTION_SECONDS * 1000),
        connectTimeoutMS=int(CONNECT_SECONDS * 1000),
        maxIdleTimeMS=int(IDLE_SECONDS * 1000),
        event_listeners=_listeners(),
    )


def _listeners() -> list[Any]:
    if not telemetry.is_on():
        return []
    from services.mongo_spans import MongoCommands

    return [MongoCommands(telemetry.tracer())]


class Numbering:
    """Integer ids for one collection from an atomic counter, and the promise that its indexes stand.

    The counter's document is written after the collection's indexes. Whoever is given a number from it
    therefore knows that they exist, also when the service was started before MongoDB or the database was
    dropped beneath it.
    """

    def __init__(self, collection: str, indexes: Sequence[IndexModel]) -> None:
        self._collection = collection
        self._indexes = list(indexes)
        self._checked = False

    async def next(self, database: MongoDatabase) -> int:
        """A number that nobody else was or will be given. An asyncio function."""
        # Looked at once in each process: an older release leaves the counter, but not an index new in this.
        number = await self._increment(database) if self._checked else None
        if number is None:
            await self._prepare(database)
            self._checked = True
            number = await self._increment(database)
        if number is None:
            raise RuntimeError(f"the counter of {self._collection} was removed while it was being made")
        return number

    async def _increment(self, database: MongoDatabase) -> int | None:
        counter = await database.counters.find_one_and_update(
            {"_id": self._collection}, {"$inc": {"value": 1}}, return_document=ReturnDocument.AFTER
        )
        return None if counter is None else int(counter["value"])

    async def _prepare(self, database: MongoDatabase) -> None:
        collection = database[self._collection]
        await collection.create_indexes(self._indexes)
        last = await collection.find_one({}, {"_id": 1}, sort=[("_id", pymongo.DESCENDING)])
        await database.counters.update_one(
            {"_id": self._collection},
            {"$setOnInsert": {"value": last["_id"] if last else 0}},
            upsert=True,
        )
