"""A unary method behind a breaker, against a real grpclib server in memory."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio_asyncio
from grpclib import GRPCError
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from grpclib.testing import ChannelFor
from trio.testing import MockClock
from trio_asyncio import aio_as_trio

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, State, open_panel
from actors.adapters.grpc import GuardedMethod, is_answer, is_failure
from protocols.school_grpc import SchoolServiceBase, SchoolServiceStub
from protocols.school_pb2 import ValidateSchoolRequest, ValidateSchoolResponse

REQUEST = ValidateSchoolRequest(id="7")
Method = GuardedMethod[ValidateSchoolRequest, ValidateSchoolResponse]


@pytest.mark.parametrize("status", list(Status))
def test_grpc_statuses_of_a_broken_service_are_failures(status: Status) -> None:
    """Statuses that a caller passes on as a success or a 4xx are answers; all others are failures."""
    answers = {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "ALREADY_EXISTS", "OUT_OF_RANGE"}
    assert is_failure(GRPCError(status)) is (status.name not in answers)
    assert is_answer(GRPCError(status)) is (status.name in answers)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (StreamTerminatedError("x"), True),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (ProtocolError("x"), True),
        (OSError(errno.EMFILE, "too many open files"), False),
        (OSError("Multiple exceptions: [Errno 24] Too many open files, [Errno 24] the same"), False),
        (OSError("Multiple exceptions: [Errno 24] Too many open files, [Errno 111] refused"), True),
        (OSError("Multiple exceptions"), True),
        (KeyError(), False),
    ],
)
def test_a_lost_connection_fails_over_grpc(error: Exception, failed: bool) -> None:
    assert is_failure(error) is failed


@dataclass
class ScriptedSchoolService(SchoolServiceBase):
    """Answers with `status`, or not at all."""

    status: Status = Status.OK
    hangs: bool = False
    cancelled: trio.Event = field(default_factory=trio.Event)
    metadata: list[Any] = field(default_factory=list)

    async def ValidateSchool(self, stream: Any) -> None:  # noqa: N802 - as the service's definition calls it
        request = await stream.recv_message()
        self.metadata.append(stream.metadata.get("x-note"))
        try:
            if self.hangs:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.status is not Status.OK:
            raise GRPCError(self.status)
        await stream.send_message(ValidateSchoolResponse(exists=True, name=request.id))

    async def GetSchool(self, stream: Any) -> None:  # noqa: N802 - as above
        raise NotImplementedError


@pytest.fixture
async def breaker() -> AsyncIterator[CircuitBreaker]:
    async with open_panel() as panel:
        yield panel.breaker(CircuitBreakerConfig(name="it", max_failures=2, failure=is_failure))


@pytest.fixture
def service() -> ScriptedSchoolService:
    return ScriptedSchoolService()


@pytest.fixture
async def channel(service: ScriptedSchoolService) -> AsyncIterator[Channel]:
    async with trio_asyncio.open_loop(), aio_as_trio(ChannelFor([service])) as opened:
        yield opened


@pytest.fixture
def validate(channel: Channel, breaker: CircuitBreaker) -> Method:
    return GuardedMethod(SchoolServiceStub(channel).ValidateSchool, breaker)


async def counted(breaker: CircuitBreaker) -> dict[str, int]:
    return {key: count for key, count in (await breaker.snapshot()).counts.items() if count}


async def test_a_reply_comes_through(
    validate: Method, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    assert (await validate(REQUEST, metadata={"x-note": "hello"})).name == "7"
    assert service.metadata == ["hello"]
    assert await counted(breaker) == {"success": 1}


async def test_unwell_statuses_open_and_the_service_is_left_alone(
    validate: Method, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    service.status = Status.UNAVAILABLE
    for _ in range(2):
        with pytest.raises(GRPCError):
            await validate(REQUEST)
    with pytest.raises(CircuitOpenError):
        await validate(REQUEST)
    assert len(service.metadata) == 2
    assert await counted(breaker) == {"failure": 2, "rejected": 1}


async def test_a_refusal_is_an_answer_and_ends_a_row_of_failures(
    validate: Method, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    for status in (Status.INTERNAL, Status.NOT_FOUND, Status.INTERNAL):
        service.status = status
        with pytest.raises(GRPCError) as raised:
            await validate(REQUEST)
        assert raised.value.status is status
    assert breaker.state is State.CLOSED
    assert await counted(breaker) == {"success": 1, "failure": 2}


async def test_a_deadline_that_passes_is_a_failure(
    validate: Method, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    service.hangs = True
    with pytest.raises((TimeoutError, GRPCError)):
        await validate(REQUEST, timeout=0.05)
    assert await counted(breaker) == {"failure": 1}


async def test_cancelling_reaches_the_service_and_counts_neither_way(
    validate: Method, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    service.hangs = True
    with trio.move_on_after(0.05) as scope:
        await validate(REQUEST)
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await service.cancelled.wait()
    assert await counted(breaker) == {"cancelled": 1}


async def test_the_policy_may_name_the_answers(
    channel: Channel, service: ScriptedSchoolService, breaker: CircuitBreaker
) -> None:
    validate: Method = GuardedMethod(
        SchoolServiceStub(channel).ValidateSchool, breaker, answers=lambda error: True
    )
    service.status = Status.UNAVAILABLE
    with pytest.raises(GRPCError):
        await validate(REQUEST)
    assert await counted(breaker) == {"success": 1}


@pytest.mark.parametrize(
    "policy",
    [{}, {"failure": lambda error: True}, {"ignore": GRPCError}, {"failure": OSError}],
    ids=["default", "everything", "ignored", "others"],
)
async def test_an_answer_is_a_success_under_any_policy(
    channel: Channel, service: ScriptedSchoolService, mock_clock: MockClock, policy: dict[str, Any]
) -> None:
    """Therefore it closes a half-open breaker."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=1, **policy))
        validate: Method = GuardedMethod(SchoolServiceStub(channel).ValidateSchool, breaker)
        service.status = Status.NOT_FOUND
        with pytest.raises(GRPCError):
            await validate(REQUEST)
        assert await counted(breaker) == {"success": 1}
        await breaker.trip()
        mock_clock.jump(60)
        with pytest.raises(GRPCError):
            await validate(REQUEST)
        assert breaker.state is State.CLOSED
        assert await counted(breaker) == {"success": 2}


async def test_a_reply_may_be_a_failure(channel: Channel, service: ScriptedSchoolService) -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", failure_result=lambda reply: True))
        validate: Method = GuardedMethod(SchoolServiceStub(channel).ValidateSchool, breaker)
        assert (await validate(REQUEST)).name == "7"
        assert await counted(breaker) == {"failure": 1}
