"""MongoDB through a breaker, by pymongo's asyncio client, and the classification of its errors."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

import pymongo.lock
import trio
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CollectionInvalid,
    DuplicateKeyError,
    InvalidName,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)
from trio_asyncio import aio_as_trio

from ..circuit_breaker import CircuitBreaker
from .shortage import causes, describes_shortage, is_shortage

T = TypeVar("T")

HOLDERS = (AsyncMongoClient, AsyncDatabase, AsyncCollection)
CURSORS = (AsyncCursor, AsyncCommandCursor)
BATCH = 100
CLOSING_SECONDS = 2.0


async def _wait_for(awaitable: Awaitable[T], timeout: float | None) -> T:
    """asyncio's `wait_for` as since Python 3.12: in the caller's own task."""
    async with asyncio.timeout(timeout):
        return await awaitable


# Python 3.11 waits in a task of its own. If the caller is cancelled while that task ends, it goes on alone:
# pymongo's condition takes its lock and never releases it, and no operation of the client ends any more.
pymongo.lock.wait_for = _wait_for  # type: ignore[assignment, attr-defined]


REFUSED_REQUESTS = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        15,  # Overflow
        16,  # InvalidLength
        22,  # InvalidBSON
        28,  # PathNotViable
        40,  # ConflictingUpdateOperators
        52,  # DollarPrefixedFieldName
        53,  # InvalidIdField
        54,  # NotSingleValueField
        55,  # InvalidDBRef
        56,  # EmptyFieldName
        57,  # DottedFieldName
        66,  # ImmutableField
        121,  # DocumentValidationFailure
        241,  # ConversionFailure
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong
        17419,  # the document would be too large after the update
        17420,  # the same, if the update creates it
        51091,  # the regular expression is invalid
    }
)
"""The server's error codes for the values of one request.

A code belongs here if one client's data can cause it while all other requests succeed: then the server works
well enough to read the request and refuse it. A code that affects every request (OutOfDiskSpace,
Unauthorized, NotWritablePrimary, CommandNotFound) is a failure, and so is one that isn't listed: a fault that
isn't counted is worse than a breaker that opens too soon.
"""

DUPLICATES = frozenset({11000, 11001, 12582})


def is_failure(error: BaseException) -> bool:
    """Every PyMongoError except answers, shortages of this process, and requests that the driver refuses."""
    if not isinstance(error, PyMongoError) or is_answer(error) or is_own_shortage(error):
        return False
    return not isinstance(error, InvalidOperation | InvalidName | CollectionInvalid)


def is_answer(error: BaseException) -> bool:
    """For a policy's `answers`: a duplicate key, or one of REFUSED_REQUESTS.

    The server works, and refuses the request.
    """
    if isinstance(error, DuplicateKeyError):
        return True
    if not isinstance(error, OperationFailure) or error.timeout:
        return False
    if isinstance(error, BulkWriteError):
        return _refused_writes(error.details)
    return error.code in REFUSED_REQUESTS


def is_own_shortage(error: BaseException) -> bool:
    """The driver's own pool of connections was full, or this process lacked files, memory or ports."""
    if isinstance(error, WaitQueueTimeoutError) or is_shortage(error):
        return True
    return any(_lacks(link) for link in causes(error))


def _lacks(error: BaseException) -> bool:
    """Whether pymongo couldn't reach a server by a lack of this process; only its message shows that."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_own_shortage(one) for one in error.exceptions)
    return isinstance(error, AutoReconnect) and describes_shortage(str(error))


def _refused_writes(details: Mapping[str, Any]) -> bool:
    """Whether all errors of a bulk of writes are answers."""
    codes = {one.get("code") for one in details.get("writeErrors", ())}
    return bool(codes) and codes <= REFUSED_REQUESTS | DUPLICATES and not details.get("writeConcernErrors")


def guarded(target: T, breaker: CircuitBreaker) -> T:
    """`target`, an AsyncMongoClient, AsyncDatabase or AsyncCollection, for trio code and behind `breaker`.

        async with trio_asyncio.open_loop():
            breaker = panel.breaker(CircuitBreakerConfig(name="shop-database", failure=is_failure))
            users = guarded(client.shop.users, breaker)
            await users.insert_one({"_id": 1})
            async for user in users.find({}).sort("_id"):
                ...

    It has the methods of `target`. Each awaited one is a call of its own, with pymongo's time limits; so is
    each batch of 100 documents of an `async for` over a cursor. Only `close` bypasses the breaker. Returned
    databases, collections and cursors are guarded too; sessions and change streams are not. Must be used
    inside `trio_asyncio.open_loop()`.

    Calls raise what pymongo raises, untouched (an answer counts as a success), and what
    `CircuitBreaker.execute` raises. Cancelling ends the operation on its connection and counts neither way.

    Raises TypeError for anything else.
    """
    if not isinstance(target, HOLDERS):
        raise TypeError(f"guarded needs pymongo's asyncio client, database or collection, got {target!r}")
    return cast(T, _Guarded(target, breaker))


class _Guarded:
    """Made by `guarded`."""

    def __init__(self, target: Any, breaker: CircuitBreaker) -> None:
        self._target = target
        self._breaker = breaker

    def __repr__(self) -> str:
        return f"<{self._target!r} behind {self._breaker!r}>"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name == "close" and inspect.iscoroutinefunction(value):
            return aio_as_trio(value)
        return self._method(value) if inspect.ismethod(value) else self._guard(value)

    def __getitem__(self, name: Any) -> Any:
        return self._guard(self._target[name])

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSING_SECONDS):
            await aio_as_trio(self._target.close)()

    def _guard(self, value: Any) -> Any:
        if isinstance(value, CURSORS):
            return _GuardedCursor(value, self._breaker)
        return _Guarded(value, self._breaker) if isinstance(value, HOLDERS) else value

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(method):
            return wraps(method)(lambda *args, **kwargs: self._guard(method(*args, **kwargs)))

        @wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return self._guard(await self._call(method, *args, **kwargs))

        return call

    async def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async with self._breaker.guard() as call:
            try:
                result = await aio_as_trio(method)(*args, **kwargs)
            except Exception as error:
                if _is_no_failure(error):
                    call.accept()
                raise
            call.returned(result)
            return result


class _GuardedCursor(_Guarded):
    """A cursor that is read in batches: each read is a switch to asyncio and back."""

    def __init__(self, target: Any, breaker: CircuitBreaker) -> None:
        super().__init__(target, breaker)
        self._batch: deque[Any] = deque()

    def __aiter__(self) -> _GuardedCursor:
        return self

    async def __anext__(self) -> Any:
        if not self._batch:
            self._batch.extend(await self._call(self._target.to_list, BATCH))
        if not self._batch:
            raise StopAsyncIteration
        return self._batch.popleft()


def _is_no_failure(error: Exception) -> bool:
    # StopAsyncIteration: the end of a cursor, raised by its `next`.
    return is_answer(error) or isinstance(error, StopAsyncIteration)
