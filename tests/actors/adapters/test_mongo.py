"""pymongo's client behind a breaker, against a real mongod."""

from __future__ import annotations

import errno
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio_asyncio
from bson.errors import InvalidDocument
from pymongo import AsyncMongoClient, errors
from pymongo.errors import (
    CollectionInvalid,
    ConnectionFailure,
    DuplicateKeyError,
    ServerSelectionTimeoutError,
)
from trio_asyncio import aio_as_trio

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel
from actors.adapters.mongo import guarded, is_answer, is_failure
from tests.mongo import Mongod, free_port

Client = AsyncMongoClient[dict[str, Any]]


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (errors.AutoReconnect("x"), True),
        (errors.ServerSelectionTimeoutError("x"), True),
        (errors.NetworkTimeout("x"), True),
        (errors.ExecutionTimeout("x"), True),
        (errors.WTimeoutError("x"), True),
        (errors.DuplicateKeyError("x"), False),
        (errors.OperationFailure("x"), True),
        (errors.OperationFailure("OutOfDiskSpace", 14031), True),
        (errors.OperationFailure("InternalError", 1), True),
        (errors.OperationFailure("Unauthorized", 13), True),
        (errors.OperationFailure("TooManyFilesOpen", 264), True),
        (errors.NotPrimaryError("x", {"code": 10107}), True),
        (errors.OperationFailure("BadValue", 2), False),
        (errors.WriteError("DocumentValidationFailure", 121), False),
        (errors.ProtocolError("x"), True),
        (errors.ConfigurationError("too old"), True),
        (errors.InvalidOperation("x"), False),
        (errors.DocumentTooLarge("x"), False),
        (InvalidDocument("x"), False),
        (errors.WaitQueueTimeoutError("x"), False),
        (caused_by(errors.AutoReconnect("x"), OSError(errno.EMFILE, "too many")), False),
        (errors.ServerSelectionTimeoutError("it:1: [Errno 24] Too many open files, Timeout: 0.9s"), False),
        (
            caused_by(
                errors.ServerSelectionTimeoutError("x"),
                ExceptionGroup("no server", [errors.AutoReconnect("it:1: [Errno 24] files")] * 2),
            ),
            False,
        ),
        (errors.ServerSelectionTimeoutError("it:1: [Errno 24] files,it:2: [Errno 111] refused"), True),
        (caused_by(errors.AutoReconnect("x"), OSError(errno.ECONNREFUSED, "refused")), True),
        (errors.BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 121}]}), False),
        (errors.BulkWriteError({"writeErrors": [{"code": 11000}, {"code": 14031}]}), True),
        (
            errors.BulkWriteError({"writeErrors": [{"code": 11000}], "writeConcernErrors": [{"code": 64}]}),
            True,
        ),
        (KeyError(), False),
    ],
)
def test_errors_of_the_network_and_the_server_are_failures(error: Exception, failed: bool) -> None:
    assert is_failure(error) is failed


@pytest.fixture
def breaker(panel: Panel) -> CircuitBreaker:
    return panel.breaker(CircuitBreakerConfig(name="it", max_failures=2, failure=is_failure))


async def connect(uri: str) -> Client:
    return AsyncMongoClient(uri, serverSelectionTimeoutMS=200)


@pytest.fixture
async def client(mongod: Mongod, breaker: CircuitBreaker) -> AsyncIterator[Client]:
    async with trio_asyncio.open_loop(), guarded(await aio_as_trio(connect)(mongod.uri), breaker) as opened:
        yield opened


@pytest.fixture
def users(client: Client) -> Any:
    return client[f"guarded_{uuid.uuid4().hex[:8]}"].users


async def counted(breaker: CircuitBreaker) -> dict[str, int]:
    return {key: count for key, count in (await breaker.snapshot()).counts.items() if count}


async def test_operations_come_through_and_count(users: Any, breaker: CircuitBreaker) -> None:
    assert (await users.insert_one({"_id": 1, "name": "Ada"})).inserted_id == 1
    assert await users.find_one({"_id": 1}) == {"_id": 1, "name": "Ada"}
    assert users.name == "users"
    assert await counted(breaker) == {"success": 2}


async def test_cursors_are_read_by_guarded_batches(users: Any, breaker: CircuitBreaker) -> None:
    await users.insert_many([{"_id": number} for number in range(250)])
    before = (await counted(breaker))["success"]
    found = [document["_id"] async for document in users.find({}).sort("_id", -1).limit(230)]
    assert found == list(range(249, 19, -1))
    assert (await counted(breaker))["success"] == before + 4
    assert len(await users.find({}).to_list()) == 250
    cursor = await users.aggregate([{"$match": {"_id": {"$lt": 3}}}])
    assert [document["_id"] async for document in cursor] == [0, 1, 2]
    async with users.find({"_id": 7}) as one:
        assert await one.next() == {"_id": 7}
        with pytest.raises(StopAsyncIteration):
            await one.next()
    assert (await counted(breaker)).keys() == {"success"}


async def test_a_duplicate_is_an_answer(users: Any, breaker: CircuitBreaker) -> None:
    await users.insert_one({"_id": 1})
    with pytest.raises(DuplicateKeyError):
        await users.insert_one({"_id": 1})
    assert await counted(breaker) == {"success": 2}


@pytest.mark.parametrize(
    "policy",
    [{}, {"failure": lambda error: True}, {"ignore": errors.PyMongoError}, {"failure": OSError}],
    ids=["default", "everything", "ignored", "others"],
)
async def test_an_answer_is_a_success_under_any_policy(
    mongod: Mongod, panel: Panel, policy: dict[str, Any]
) -> None:
    """A duplicate key, the values of one request, and a cursor's end."""
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=1, **policy))
    async with trio_asyncio.open_loop(), guarded(await aio_as_trio(connect)(mongod.uri), breaker) as client:
        users = client[f"guarded_{uuid.uuid4().hex[:8]}"].users
        await users.insert_one({"_id": 1})
        with pytest.raises(DuplicateKeyError):
            await users.insert_one({"_id": 1})
        with pytest.raises(errors.OperationFailure):
            await users.find_one({"$where": 7})
        with pytest.raises(StopAsyncIteration):
            await users.find({"_id": 2}).next()
    assert await counted(breaker) == {"success": 4}


async def test_databases_and_clients_are_guarded_alike(
    client: Client, users: Any, breaker: CircuitBreaker
) -> None:
    assert (await client.admin.command("ping"))["ok"] == 1
    assert await users.database.list_collection_names() == []
    assert await client.get_database("admin").command("ping")
    assert await counted(breaker) == {"success": 3}
    assert "it" in repr(users)


async def test_a_server_that_is_gone_opens_the_breaker(breaker: CircuitBreaker) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/?directConnection=true"
    async with trio_asyncio.open_loop():
        client = guarded(await aio_as_trio(connect)(uri), breaker)
        async with client:
            for _ in range(2):
                with pytest.raises(ServerSelectionTimeoutError):
                    await client.test.users.find_one({})
            with pytest.raises(CircuitOpenError):
                async for _ in client.test.users.find({}):
                    pass
            # Closing passes the open breaker by, in either way.
            await client.close()
    assert await counted(breaker) == {"failure": 2, "rejected": 1}


async def test_cancelling_counts_neither_way(users: Any, breaker: CircuitBreaker) -> None:
    await users.insert_one({"_id": 1})
    with trio.move_on_after(0.05) as scope:
        await users.find_one({"$where": "sleep(2000) || true"})
    assert scope.cancelled_caught
    assert (await counted(breaker))["cancelled"] == 1
    assert await users.find_one({}) == {"_id": 1}


def test_guarding_an_unknown_object_is_refused() -> None:
    with pytest.raises(TypeError, match="pymongo's asyncio client"):
        guarded(object(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (DuplicateKeyError("x", 11000), True),
        (errors.OperationFailure("TypeMismatch", 14), True),
        (errors.OperationFailure("OutOfDiskSpace", 14031), False),
        (errors.ExecutionTimeout("x", 50), False),
        (errors.WaitQueueTimeoutError("x"), False),
        (CollectionInvalid("x"), False),
        (ConnectionFailure("x"), False),
        (KeyError(), False),
    ],
)
def test_refusals_of_the_server_are_answers(error: Exception, answer: bool) -> None:
    assert is_answer(error) is answer
