"""A dependency that is down opens its own breaker, after exactly its `max_failures`, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import structlog
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.testing import ChannelFor
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
)
from trio.testing import MockClock
from trio_asyncio import aio_as_trio

from protocols.school_grpc import SchoolServiceBase
from services.deadlines import seconds_for_call
from services.mongo.client import OPERATION_SECONDS
from services.student.school_client import CALL_SECONDS, GrpcSchoolClient, open_channel
from tests.world.in_process_stack import InProcessStack, open_in_process_stack
from tests.world.inline_passwords import InlinePasswords

DATABASE_FAILURES = 5
CHECK_FAILURES = 3


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcessStack]:
    structlog.reset_defaults()
    monkeypatch.setattr("tests.world.in_process_stack.Passwords", InlinePasswords)
    async with open_in_process_stack() as opened:
        await opened.sign_in()
        await opened.add_school()
        yield opened


def not_closed(stack: InProcessStack) -> list[str]:
    """The breakers of the stack that are anything but closed."""
    names = [breaker.name for panel in stack.panels.values() for breaker in panel]
    return [name for name in names if stack.state(name) != "CLOSED"]


async def failures(stack: InProcessStack) -> dict[str, int]:
    """The number of failures by breaker, without zeros."""
    found = {}
    for panel in stack.panels.values():
        for name, snapshot in (await panel.snapshots()).items():
            if snapshot.counts["failure"]:
                found[name] = snapshot.counts["failure"]
    return found


async def assert_opens(
    stack: InProcessStack,
    breaker: str,
    ask: Callable[[], Awaitable[httpx.Response]],
    *,
    after: int,
    told: str,
    retry_after: int,
    seconds: float = 0.0,
) -> None:
    """`breaker` opens after so many requests, each within so many seconds, and then rejects at once."""
    start = trio.current_time()
    for number in range(after):
        assert not_closed(stack) == [], number
        answer = await ask()
        assert (answer.status_code, answer.json()["error"]) == (503, told), number
    assert not_closed(stack) == [breaker]
    assert trio.current_time() - start <= after * seconds
    start = trio.current_time()
    answer = await ask()
    assert (answer.status_code, answer.json()["error"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == str(retry_after)
    assert trio.current_time() == start
    assert await failures(stack) == {breaker: after}


DATABASES = ("auth-database", "school-database", "student-database")
CODES = {
    "InternalError": 1,
    "HostUnreachable": 6,
    "Unauthorized": 13,
    "AuthenticationFailed": 18,
    "ExceededTimeLimit": 262,
    "TooManyFilesOpen": 264,
    "CommandNotFound": 59,
    "ShutdownInProgress": 91,
    "NotWritablePrimary": 10107,
    "OutOfDiskSpace": 14031,
    "no code": None,
    "a code to come": 99_999,
}
DATABASE_FAULTS: dict[str, Exception] = {
    "AutoReconnect": AutoReconnect("scripted"),
    "ConnectionFailure": ConnectionFailure("scripted"),
    "NetworkTimeout": NetworkTimeout("scripted"),
    "NotPrimaryError": NotPrimaryError("scripted"),
    "ServerSelectionTimeoutError": ServerSelectionTimeoutError("scripted"),
    "WriteConcernError": WriteConcernError("scripted", code=64),
    **{name: OperationFailure("scripted", code=code) for name, code in CODES.items()},
}


def honest(stack: InProcessStack, breaker: str) -> Callable[[], Awaitable[httpx.Response]]:
    if breaker == "auth-database":
        return stack.login
    return lambda: stack.client.get("/schools" if breaker == "school-database" else "/students")


def break_database(stack: InProcessStack, breaker: str, fault: Callable[[], Awaitable[None]]) -> None:
    """Make each operation on this database await `fault` first."""
    if breaker == "auth-database":
        stack.accounts.fault = fault
    else:
        store = stack.schools if breaker == "school-database" else stack.students
        store.faults.strike = fault  # type: ignore[method-assign]


@pytest.mark.parametrize("breaker", DATABASES)
@pytest.mark.parametrize("fault", DATABASE_FAULTS)
async def test_a_failing_database_opens_its_own_breaker_alone(
    stack: InProcessStack, breaker: str, fault: str, mock_clock: MockClock
) -> None:
    async def fail() -> None:
        raise DATABASE_FAULTS[fault]

    break_database(stack, breaker, fail)
    told = {"after": DATABASE_FAILURES, "told": "DATABASE_ERROR", "retry_after": 60}
    await assert_opens(stack, breaker, honest(stack, breaker), **told)


@pytest.mark.parametrize("breaker", DATABASES)
async def test_a_hanging_database_opens_its_own_breaker_alone(
    stack: InProcessStack, breaker: str, mock_clock: MockClock
) -> None:
    """Its time limit is shorter than the gateway's."""
    mock_clock.autojump_threshold = 0

    async def hang() -> None:
        # As services.mongo.client limits it; pymongo raises this at the end.
        await trio.sleep(seconds_for_call(OPERATION_SECONDS))
        raise NetworkTimeout("scripted")

    break_database(stack, breaker, hang)
    told = {"after": DATABASE_FAILURES, "told": "DATABASE_ERROR", "retry_after": 60}
    await assert_opens(stack, breaker, honest(stack, breaker), **told, seconds=OPERATION_SECONDS)


@pytest.mark.parametrize("fault", DATABASE_FAULTS)
async def test_the_school_services_database_opens_its_own_breaker_alone(
    stack: InProcessStack, fault: str, mock_clock: MockClock
) -> None:
    """Not the student service's gRPC breaker, nor any of the gateway's."""
    stack.schools.faults.fail(DATABASE_FAULTS[fault])
    for number in range(DATABASE_FAILURES + 1):
        assert not_closed(stack) == (["school-database"] if number == DATABASE_FAILURES else [])
        answer = await stack.add_student(1, "R")
        assert (answer.status_code, answer.json()["error"]) == (503, "SCHOOL_SERVICE_ERROR")
    assert await failures(stack) == {"school-database": DATABASE_FAILURES}


ANSWERS = {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS", "OUT_OF_RANGE"}
FAILED = [status for status in Status if status.name not in ANSWERS]


class Failing(SchoolServiceBase):
    """A school service that ends each call with this status, or never if it is None."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    async def ValidateSchool(self, stream: Any) -> None:  # noqa: N802
        await stream.recv_message()
        if self._status is None:
            await asyncio.sleep(1000)
        assert self._status is not None
        raise GRPCError(self._status, "scripted")

    async def GetSchool(self, stream: Any) -> None:  # noqa: N802
        raise AssertionError


async def assert_check_opens(stack: InProcessStack, seconds: float = 0.0) -> None:
    async def ask() -> httpx.Response:
        return await stack.add_student(1, "R")

    told = {"after": CHECK_FAILURES, "told": "SCHOOL_SERVICE_ERROR", "retry_after": 30}
    await assert_opens(stack, "student-service-grpc", ask, **told, seconds=seconds)


@pytest.mark.parametrize("status", FAILED)
async def test_a_grpc_failure_status_opens_the_grpc_breaker(
    stack: InProcessStack, status: Status, mock_clock: MockClock
) -> None:
    async with aio_as_trio(ChannelFor([Failing(status)])) as channel:
        stack.grpc._inner = GrpcSchoolClient(channel)
        await assert_check_opens(stack)


async def test_a_hanging_school_service_opens_the_grpc_breaker(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    mock_clock.autojump_threshold = 0
    async with aio_as_trio(ChannelFor([Failing(None)])) as channel:
        stack.grpc._inner = GrpcSchoolClient(channel)
        await assert_check_opens(stack, CALL_SECONDS)


async def test_a_missing_grpc_method_opens_the_grpc_breaker(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    async with aio_as_trio(ChannelFor([])) as channel:
        stack.grpc._inner = GrpcSchoolClient(channel)
        await assert_check_opens(stack)


async def test_a_refused_connection_opens_the_grpc_breaker(
    stack: InProcessStack, mock_clock: MockClock
) -> None:
    async with open_channel("127.0.0.1:1") as channel:
        stack.grpc._inner = GrpcSchoolClient(channel)
        await assert_check_opens(stack)


@pytest.mark.parametrize(
    "fault", [ConnectionResetError("scripted"), StreamTerminatedError("scripted"), TimeoutError("scripted")]
)
async def test_a_lost_connection_opens_the_grpc_breaker(
    stack: InProcessStack, fault: Exception, mock_clock: MockClock
) -> None:
    class Lost:
        async def find(self, school_id: int) -> None:
            raise fault

    stack.grpc._inner = Lost()  # type: ignore[assignment]
    await assert_check_opens(stack)
