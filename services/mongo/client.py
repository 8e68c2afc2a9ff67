"""MongoDB for trio through pymongo's asyncio client, with a time limit on every operation.

Without breakers: `services.dependency` adds one around these operations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import pymongo
import trio
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError
from pymongo.topology_description import TopologyDescription
from trio_asyncio import aio_as_trio

import actors.adapters.mongo  # noqa: F401 - it mends how pymongo waits on Python 3.11
from runtime.observability import tracing
from services.deadlines import seconds_for_call

T = TypeVar("T")
Document = dict[str, Any]
MongoDatabase = AsyncDatabase[Document]

OPERATION_SECONDS = 5.0
SELECTION_SECONDS = 0.9
"""Seconds that an operation waits while no writable server is known and no election can be expected.

pymongo checks the servers twice a second. A longer wait would only delay the error and the breaker.
"""
ELECTION_SECONDS = 15.0
"""Seconds after the loss of a primary during which members that answer are expected to elect another.

By default MongoDB detects the loss of a primary after 10 seconds. Members without a majority never elect one.
"""
CHECK_SECONDS = 0.15
"""Seconds between two checks for a writable server."""
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
"""Seconds after which an unused connection is closed."""
CONNECT_SECONDS = 2.0


class Database:
    """One database of one MongoDB. Use it inside the `trio_asyncio.open_loop()` in which it was opened.

    seconds: the time limit of an operation.
    """

    def __init__(self, database: MongoDatabase, seconds: float = OPERATION_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._primary = _PrimaryWatch(database)

    async def run(self, operation: Callable[[MongoDatabase], Awaitable[T]], *, idempotent: bool = False) -> T:
        """Await `operation(database)`, an asyncio function, within a time limit, and return its result.

        The limit is `seconds`, or less if the caller's deadline is nearer. Raises what pymongo raises; an
        exceeded limit is an error with `.timeout` set. Cancelling closes the operation's connection.

        During an election the operation waits for the new primary, within its limit. If the server is dead,
        it fails after about a second. pymongo itself retries single reads and writes, and performs each write
        at most once.

        idempotent: the operation as a whole may be performed twice. It is then retried once if its connection
        is lost.
        """
        limit = seconds_for_call(self._seconds)
        return cast(T, await aio_as_trio(self._limited)(operation, limit, idempotent))

    async def _limited(
        self, operation: Callable[[MongoDatabase], Awaitable[T]], seconds: float, idempotent: bool
    ) -> T:
        with pymongo.timeout(seconds):
            if idempotent:
                return await retry_once(lambda: self._primary.run(operation))
            return await self._primary.run(operation)


async def retry_once(operation: Callable[[], Awaitable[T]]) -> T:
    """Await `operation()`, and once more if its connection is lost or the primary steps down.

    An asyncio function. For idempotent operations only: the first attempt may have succeeded before the
    connection was lost.
    """
    try:
        return await operation()
    except PyMongoError as error:
        lost = isinstance(error, AutoReconnect) or getattr(error, "code", None) in _STEPPED_DOWN
        if error.timeout or not lost:
            raise
    return await operation()


class _PrimaryWatch:
    """Ends operations early while there is no writable server and no election to wait for.

    pymongo alone would wait for a server until the operation's time limit, even if all servers are dead.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self._database = database
        self._lost_at: float | None = None

    async def run(self, operation: Callable[[MongoDatabase], Awaitable[T]]) -> T:
        """Await the operation, but end it after SELECTION_SECONDS without a server.

        Raises ServerSelectionTimeoutError then; its cause is the error of the servers.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        is_lost = False
        missing_seconds = 0.0
        timer: asyncio.TimerHandle | None = None

        def check() -> None:
            nonlocal is_lost, missing_seconds, timer
            usable = self._is_there_or_expected(loop.time())
            missing_seconds = 0.0 if usable else missing_seconds + CHECK_SECONDS
            if missing_seconds > SELECTION_SECONDS:
                is_lost = True
                task.cancel()
            else:
                timer = loop.call_later(CHECK_SECONDS, check)

        timer = loop.call_later(0, check)
        try:
            return await operation(self._database)
        except asyncio.CancelledError:
            if not is_lost:
                raise
            task.uncancel()
            raise ServerSelectionTimeoutError("no server is known") from self._server_error()
        except ServerSelectionTimeoutError as error:
            raise error from self._server_error()
        finally:
            if timer is not None:
                timer.cancel()

    def _is_there_or_expected(self, now: float) -> bool:
        topology: TopologyDescription = self._database.client.topology_description
        if topology.has_writable_server():
            self._lost_at = None
            return True
        if self._lost_at is None:
            self._lost_at = now
        # Members that answer take part in an election, or soon will.
        answering = any(
            server.server_type_name in ("RSSecondary", "RSOther")
            for server in topology.server_descriptions().values()
        )
        return answering and now - self._lost_at < ELECTION_SECONDS

    def _server_error(self) -> BaseException | None:
        """The error of the unreachable server, a group for several; pymongo's message only quotes it."""
        servers = self._database.client.topology_description.server_descriptions().values()
        errors = [server.error for server in servers if server.error is not None]
        return errors[0] if len(errors) == 1 else ExceptionGroup("no server", errors) if errors else None


@asynccontextmanager
async def open_database(
    uri: str, name: str, *, seconds: float = OPERATION_SECONDS
) -> AsyncIterator[Database]:
    """A client for database `name` at `uri`, closed on exit. Doesn't connect: MongoDB may start later.

    seconds: the time limit of an operation; about 1 while no server is known and no election can be expected.
    Every write waits for the journals of a majority, because with its defaults a killed mongod loses
    acknowledged writes. Must be used inside `trio_asyncio.open_loop()`.
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
        # A duplicate-key error quotes the key, cut at a byte. Strict decoding would fail at the cut.
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
