"""MongoDB as the services use it: trio in front, pymongo's asyncio client behind, a time limit on everything.

Nothing here knows of breakers; `services.dependency` puts one around these operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import pymongo
import trio
from pymongo import AsyncMongoClient, IndexModel, ReturnDocument
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError
from pymongo.topology_description import TopologyDescription
from trio_asyncio import aio_as_trio

from runtime.observability import tracing
from services.deadlines import seconds_for_call

T = TypeVar("T")
Document = dict[str, Any]
MongoDatabase = AsyncDatabase[Document]

OPERATION_SECONDS = 5.0
SELECTION_SECONDS = 0.9
"""How long an operation waits while no server is known, and none can be expected.

pymongo looks twice a second. A caller shouldn't wait longer to be told of a dead server, and a breaker not
longer to hear of it.
"""
ELECTION_SECONDS = 15.0
"""How long after the loss of a primary another one is expected of members that answer.

MongoDB misses a primary after 10 seconds by default. Members without a majority never elect one.
"""
LOOK_SECONDS = 0.15
_STEPPED_DOWN = frozenset(
    {
        91,  # ShutdownInProgress
        189,  # PrimarySteppedDown
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11602,  # InterruptedDueToReplStateChange
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
    }
)
IDLE_SECONDS = 30.0
"""After which a connection that a burst of calls has opened is closed again."""
CONNECT_SECONDS = 2.0


class Database:
    """One database of one MongoDB. Use it inside the `trio_asyncio.open_loop()` it was opened in."""

    def __init__(self, database: MongoDatabase, seconds: float = OPERATION_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._primary = _Primary(database)

    async def run(
        self, operation: Callable[[MongoDatabase], Awaitable[T]], *, repeatable: bool = False
    ) -> T:
        """Await `operation(database)`, an asyncio function, within a time limit.

        The limit is `seconds`, or less where the caller's deadline is nearer. Raises what pymongo raises
        (a limit that passed is one with `.timeout` set). Cancelling closes the operation's connection.

        An operation that meets an election waits for the new primary, within its limit; one that meets a dead
        server fails within about a second. pymongo itself repeats single reads and writes, each write at most
        once done. repeatable: done twice, the whole of it is the same as done once; then it is repeated once
        where its connection is lost.
        """
        limit = seconds_for_call(self._seconds)
        return cast(T, await aio_as_trio(self._limited)(operation, limit, repeatable))

    async def _limited(
        self, operation: Callable[[MongoDatabase], Awaitable[T]], seconds: float, repeatable: bool
    ) -> T:
        with pymongo.timeout(seconds):
            if repeatable:
                return await repeat_once(lambda: self._primary.watched(operation))
            return await self._primary.watched(operation)


async def repeat_once(operation: Callable[[], Awaitable[T]]) -> T:
    """Await `operation()`, and once more where its connection was lost or its primary stepped down.

    An asyncio function. Only for what may be done twice: it may have been done when the connection was lost.
    """
    try:
        return await operation()
    except PyMongoError as error:
        lost = isinstance(error, AutoReconnect) or getattr(error, "code", None) in _STEPPED_DOWN
        if error.timeout or not lost:
            raise
    return await operation()


class _Primary:
    """Whether the server that takes writes is there, or can be expected soon.

    pymongo waits for a server as long as the whole operation may take, whatever it knows of the servers.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._lost_at: float | None = None

    async def watched(self, operation: Callable[[MongoDatabase], Awaitable[T]]) -> T:
        """Await the operation, but end it where there has been no server for SELECTION_SECONDS.

        Raises ServerSelectionTimeoutError then, because of what is known of the servers.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        is_lost = False
        missed = 0.0
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal is_lost, missed, timer
            missed = 0.0 if self._is_there_or_expected(loop.time()) else missed + LOOK_SECONDS
            if missed > SELECTION_SECONDS:
                is_lost = True
                task.cancel()
            else:
                timer = loop.call_later(LOOK_SECONDS, look)

        timer = loop.call_later(0, look)
        try:
            return await operation(self._database)
        except asyncio.CancelledError:
            if not is_lost:
                raise
            task.uncancel()
            raise ServerSelectionTimeoutError("no server is known") from self._why()
        except ServerSelectionTimeoutError as error:
            raise error from self._why()
        finally:
            if timer is not None:
                timer.cancel()

    def _is_there_or_expected(self, now: float) -> bool:
        known: TopologyDescription = self._database.client.topology_description
        if known.has_writable_server():
            self._lost_at = None
            return True
        if self._lost_at is None:
            self._lost_at = now
        # A member that answers takes part in an election, or will soon.
        answering = any(
            server.server_type_name in ("RSSecondary", "RSOther")
            for server in known.server_descriptions().values()
        )
        return answering and now - self._lost_at < ELECTION_SECONDS

    def _why(self) -> BaseException | None:
        """What pymongo knows of why it reaches no server; its own message only quotes it."""
        servers = self._database.client.topology_description.server_descriptions().values()
        errors = [server.error for server in servers if server.error is not None]
        return errors[0] if len(errors) == 1 else ExceptionGroup("no server", errors) if errors else None


@asynccontextmanager
async def open_database(
    uri: str, name: str, *, seconds: float = OPERATION_SECONDS
) -> AsyncIterator[Database]:
    """A client for database `name` at `uri`, closed on leaving. Doesn't connect: MongoDB may come up later.

    seconds: the longest any operation may take; about one while no server is known and none can be expected.
    Every write waits for a majority's journal, because mongod's default loses acknowledged writes when it is
    killed. Must be inside `trio_asyncio.open_loop()`.
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
    if not tracing.is_on():
        return []
    from services.mongo.tracing import MongoCommands

    return [MongoCommands(tracing.tracer())]


class IdSequence:
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
            # Making indexes isn't repeated by pymongo.
            await repeat_once(lambda: self._prepare(database))
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
