"""MongoDB behind a breaker, through pymongo's asyncio client, and what counts as a failure of it."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import trio
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError, WTimeoutError
from trio_asyncio import aio_as_trio

from actors.adapters.answers import execute_answering
from actors.handle import CircuitBreaker

T = TypeVar("T")

HOLDERS = (AsyncMongoClient, AsyncDatabase, AsyncCollection)
CURSORS = (AsyncCursor, AsyncCommandCursor)
BATCH = 100
CLOSING_SECONDS = 2.0


def is_failure(error: BaseException) -> bool:
    """The ConnectionFailure tree and everything that timed out. A duplicate key is an answer."""
    if isinstance(error, ConnectionFailure | WTimeoutError):
        return True
    return isinstance(error, PyMongoError) and error.timeout


def is_answer(error: BaseException) -> bool:
    """The server is well, and says no: a duplicate key, a document that fails validation, and their kin."""
    return isinstance(error, OperationFailure) and not is_failure(error)


def guarded(target: T, breaker: CircuitBreaker) -> T:
    """`target`, an AsyncMongoClient, AsyncDatabase or AsyncCollection, for trio code and behind `breaker`.

        async with trio_asyncio.open_loop():
            breaker = panel.breaker(CircuitBreakerConfig(name="shop-database", failure=is_failure))
            users = guarded(client.shop.users, breaker)
            await users.insert_one({"_id": 1})
            async for user in users.find({}).sort("_id"):
                ...

    It has the methods of `target`. Each awaited one is a call of its own, with pymongo's time limits; so is
    each batch of 100 documents of an `async for` over a cursor. `close` alone passes the breaker by. What
    they return is guarded too where it is a database, a collection or a cursor; sessions and change streams
    are not. Raises what pymongo raises, untouched (an answer counts as a success), and what
    `CircuitBreaker.execute` raises. Cancelling ends the operation on its connection and counts neither way.
    Must be used inside `trio_asyncio.open_loop()`.

    Raises TypeError for anything else.
    """
    if not isinstance(target, HOLDERS):
        raise TypeError(f"guarded needs pymongo's asyncio client, database or collection, got {target!r}")
    return cast(T, _Guarded(target, breaker))


class _Guarded:
    """See `guarded`."""

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
        return await execute_answering(self._breaker, _is_no_failure, aio_as_trio(method), *args, **kwargs)


class _GuardedCursor(_Guarded):
    """A cursor, read from by batches: each step would be a switch to asyncio and back."""

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
    # The end of a cursor, told by its `next`.
    return is_answer(error) or isinstance(error, StopAsyncIteration)
