"""The student service's side of gRPC, against the school service's own."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
import trio
import trio_asyncio
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.testing import ChannelFor
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel
from protocols.school_grpc import SchoolServiceBase
from services.mongo.dependency import database_dependency
from services.school.grpc_service import grpc_services
from services.school.schemas import UNIQUE
from services.student.school_client import GrpcSchoolClient, SchoolRef, UpstreamDependencyFailed, open_channel
from tests.mongo import free_port
from tests.world.fake_repositories import FakeRepository

CONFIG = CircuitBreakerConfig(name="school-database")


@pytest.fixture
async def repository() -> FakeRepository:
    repository = FakeRepository(UNIQUE)
    await repository.create({"registration_number": "R-1", "name": "North"})
    return repository


@pytest.fixture
def link(panel: Panel, repository: FakeRepository) -> ChannelFor:
    return ChannelFor(grpc_services(repository, database_dependency(panel, CONFIG, "closed for now")))


@pytest.fixture
async def channel(link: ChannelFor, loop: trio_asyncio.TrioEventLoop) -> AsyncIterator[Channel]:
    async with aio_as_trio(link) as opened:
        yield opened


async def test_an_existing_school_has_its_name_and_an_unknown_one_is_none(channel: Channel) -> None:
    schools = GrpcSchoolClient(channel)
    assert await schools.find(1) == SchoolRef("North")
    assert await schools.find(2) is None


async def test_a_school_service_that_hangs_is_given_up_in_time(
    channel: Channel, repository: FakeRepository
) -> None:
    repository.faults.delay = math.inf
    with trio.fail_after(1), pytest.raises((TimeoutError, GRPCError)):
        await GrpcSchoolClient(channel, seconds=0.1).find(1)


async def test_a_call_gets_less_time_than_its_caller_has(
    channel: Channel, repository: FakeRepository
) -> None:
    repository.faults.delay = math.inf
    with trio.fail_after(1), pytest.raises((TimeoutError, GRPCError)):
        await GrpcSchoolClient(channel).find(1)
    assert repository.faults.seconds_given < 1


async def test_the_request_id_is_sent(link: ChannelFor, channel: Channel) -> None:
    seen: list[object] = []

    async def note(event: RecvRequest) -> None:
        seen.append(event.metadata.get("x-request-id"))

    listen(link._server, RecvRequest, note)
    with structlog.contextvars.bound_contextvars(request_id="abc"):
        await GrpcSchoolClient(channel).find(1)
    assert seen == ["abc"]


async def test_a_school_service_that_is_down_raises_as_grpclib_does(loop: trio_asyncio.TrioEventLoop) -> None:
    async with open_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(ConnectionRefusedError):
            await GrpcSchoolClient(channel).find(1)


async def test_a_database_fault_there_names_the_breaker_that_counted_it(
    channel: Channel, repository: FakeRepository
) -> None:
    repository.faults.fail()
    with pytest.raises(UpstreamDependencyFailed) as raised:
        await GrpcSchoolClient(channel).find(1)
    assert raised.value.origin == "school-database"
    assert isinstance(raised.value.__cause__, GRPCError)
    assert raised.value.__cause__.status is Status.UNAVAILABLE


class _Sly(SchoolServiceBase):
    """A school service that names an unexpected breaker as the origin."""

    async def ValidateSchool(self, stream: Any) -> None:  # noqa: N802 - as the service's definition calls it
        await stream.recv_message()
        await stream.send_trailing_metadata(
            status=Status.UNAVAILABLE, metadata={"x-failure-origin": "no-such-breaker"}
        )

    async def GetSchool(self, stream: Any) -> None:  # noqa: N802 - as above
        raise NotImplementedError


async def test_an_unexpected_origin_is_ignored(loop: trio_asyncio.TrioEventLoop) -> None:
    async with aio_as_trio(ChannelFor([_Sly()])) as channel:
        with pytest.raises(GRPCError):
            await GrpcSchoolClient(channel).find(1)
