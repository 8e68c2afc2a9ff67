"""gRPC between the services: a shared credential, messages of a limited size, and repeated calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio_asyncio
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest
from structlog.testing import capture_logs
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel
from protocols.school_grpc import SchoolServiceBase, SchoolServiceStub
from protocols.school_pb2 import GetSchoolRequest, School, ValidateSchoolRequest, ValidateSchoolResponse
from runtime.web.errors import ApiError
from services.grpc.credential import credential_metadata
from services.grpc.limits import MAX_MESSAGE_BYTES
from services.grpc.server import serve_grpc
from services.mongo.dependency import database_dependency
from services.school.grpc_service import grpc_services
from services.school.schemas import UNIQUE
from services.student.school_client import GrpcSchoolClient, SchoolCheck, SchoolRef, open_channel
from tests.world.fake_repositories import FakeRepository

CONFIG = CircuitBreakerConfig(name="school-database")
GRPC = CircuitBreakerConfig(name="student-service-grpc")
SECRET = "a credential of the two services"


@asynccontextmanager
async def served(services: list[Any]) -> AsyncIterator[Channel]:
    """A channel to a server on a real socket."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(
            partial(serve_grpc, services, host="127.0.0.1", port=0, stop=trio.sleep_forever)
        )
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield channel
        nursery.cancel_scope.cancel()


async def school_services(panel: Panel, **more: Any) -> list[Any]:
    repository = FakeRepository(UNIQUE)
    await repository.create({"registration_number": "R-1", "name": "North"})
    return grpc_services(repository, database_dependency(panel, CONFIG, "closed"), **more)


async def validate(channel: Channel, school_id: str = "1", **more: Any) -> Any:
    return await aio_as_trio(SchoolServiceStub(channel).ValidateSchool)(
        ValidateSchoolRequest(id=school_id), **more
    )


@pytest.mark.parametrize(
    "given",
    [None, "", "wrong", SECRET[:-1], SECRET + "x", SECRET.upper()],
    ids=["none", "empty", "wrong", "shorter", "longer", "upper case"],
)
async def test_a_call_without_the_credential_is_unauthenticated(
    panel: Panel, loop: trio_asyncio.TrioEventLoop, given: str | None
) -> None:
    async with served(await school_services(panel, secret=SECRET)) as channel:
        with pytest.raises(GRPCError) as raised:
            await validate(channel, metadata=credential_metadata(given))
        assert raised.value.status is Status.UNAUTHENTICATED
        with pytest.raises(GRPCError) as raised:
            await aio_as_trio(SchoolServiceStub(channel).GetSchool)(GetSchoolRequest(id="1"))
        assert raised.value.status is Status.UNAUTHENTICATED
        health = await aio_as_trio(HealthStub(channel).Check)(HealthCheckRequest())
        assert health.status == HealthCheckResponse.SERVING


async def test_a_call_with_the_credential_is_answered(panel: Panel, loop: trio_asyncio.TrioEventLoop) -> None:
    async with served(await school_services(panel, secret=SECRET)) as channel:
        assert await GrpcSchoolClient(channel, secret=SECRET).find(1) == SchoolRef("North")


async def test_without_a_credential_every_call_is_answered(
    panel: Panel, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with served(await school_services(panel)) as channel:
        assert await GrpcSchoolClient(channel, secret=SECRET).find(1) == SchoolRef("North")
        assert await GrpcSchoolClient(channel).find(1) == SchoolRef("North")


async def test_a_wrong_credential_is_a_failure_and_logged_once_on_each_side(
    panel: Panel, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with served(await school_services(panel, secret=SECRET)) as channel:
        check = SchoolCheck(GrpcSchoolClient(channel, secret="another"), panel, GRPC)
        with capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(ApiError) as raised:
                    await check.find(1)
                assert (raised.value.status, raised.value.failure_origin) == (503, "student-service-grpc")
    assert (await panel["student-service-grpc"].snapshot()).failure_count == 3
    errors = [line for line in lines if line["log_level"] == "error"]
    assert [line["setting"] for line in errors] == ["SCHOOL_GRPC_SECRET"] * 2
    assert len({line["event"] for line in errors}) == 2
    refused = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in refused] == ["UNAUTHENTICATED"] * 3
    assert SECRET not in str(lines)


async def test_reflection_can_be_off(panel: Panel, loop: trio_asyncio.TrioEventLoop) -> None:
    async with served(await school_services(panel, reflection=False)) as channel:
        with pytest.raises(GRPCError) as raised:
            await aio_as_trio(ServerReflectionStub(channel).ServerReflectionInfo)(
                [ServerReflectionRequest(list_services="")]
            )
        # grpclib answers an unknown service without a content type.
        assert raised.value.status in (Status.UNIMPLEMENTED, Status.UNKNOWN)
        assert (await validate(channel)).exists


async def test_a_request_of_more_than_64_kib_is_refused_before_it_is_read(
    panel: Panel, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with served(await school_services(panel)) as channel:
        for size in (MAX_MESSAGE_BYTES, 8 * 1024 * 1024):
            with trio.fail_after(10), pytest.raises((GRPCError, StreamTerminatedError)) as raised:
                await validate(channel, "1" * size)
            if isinstance(raised.value, GRPCError):
                assert raised.value.status is Status.RESOURCE_EXHAUSTED
        with pytest.raises(GRPCError) as refused:
            # The largest message: one byte is the field's tag, and three are the length of its text.
            await validate(channel, "1" * (MAX_MESSAGE_BYTES - 4))
        assert refused.value.status is Status.INVALID_ARGUMENT
        assert (await validate(channel)).exists


class Scripted(SchoolServiceBase):
    """A school service that answers with `name`, after `before` has run."""

    def __init__(self, name: str = "North", before: Any = None) -> None:
        self.name, self.before = name, before
        self.calls = 0

    async def ValidateSchool(self, stream: Any) -> None:  # noqa: N802 - as the service's definition calls it
        self.calls += 1
        await stream.recv_message()
        if self.before is not None:
            await self.before(self.calls, stream)
        await stream.send_message(ValidateSchoolResponse(exists=True, name=self.name))

    async def GetSchool(self, stream: Any) -> None:  # noqa: N802 - as above
        raise NotImplementedError(School)


async def test_a_response_of_more_than_64_kib_is_a_failure(
    panel: Panel, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with served([Scripted("n" * MAX_MESSAGE_BYTES)]) as channel:
        with trio.fail_after(10), pytest.raises(GRPCError) as raised:
            await GrpcSchoolClient(channel).find(1)
        assert raised.value.status is Status.RESOURCE_EXHAUSTED
    async with served([Scripted("n" * (MAX_MESSAGE_BYTES - 8))]) as channel:
        assert await GrpcSchoolClient(channel).find(1) is not None


def connection_of(stream: Any) -> Any:
    return stream._stream.connection


async def goaway(_: int, stream: Any) -> None:
    connection = connection_of(stream)
    connection._connection.close_connection()
    connection.flush()
    await asyncio.sleep(1)


async def hang_up(_: int, stream: Any) -> None:
    connection_of(stream)._transport.abort()
    await asyncio.sleep(1)


async def reset(_: int, stream: Any) -> None:
    await stream.cancel()


@pytest.mark.parametrize("cut", [goaway, hang_up], ids=["GOAWAY", "connection lost"])
async def test_a_call_that_the_end_of_its_connection_cuts_is_repeated_once(
    loop: trio_asyncio.TrioEventLoop, cut: Any
) -> None:
    async def first(number: int, stream: Any) -> None:
        if number == 1:
            await cut(number, stream)

    once = Scripted(before=first)
    async with served([once]) as channel:
        assert await GrpcSchoolClient(channel).find(1) == SchoolRef("North")
    assert once.calls == 2
    always = Scripted(before=cut)
    async with served([always]) as channel:
        with pytest.raises(StreamTerminatedError):
            await GrpcSchoolClient(channel).find(1)
    assert always.calls == 2


async def test_a_call_that_the_server_resets_is_not_repeated(loop: trio_asyncio.TrioEventLoop) -> None:
    resetting = Scripted(before=reset)
    async with served([resetting]) as channel:
        with pytest.raises((StreamTerminatedError, GRPCError)):
            await GrpcSchoolClient(channel).find(1)
    assert resetting.calls == 1


async def test_a_repeated_call_has_the_rest_of_the_time(loop: trio_asyncio.TrioEventLoop) -> None:
    async def late(number: int, stream: Any) -> None:
        await asyncio.sleep(0.3)
        if number == 1:
            await hang_up(number, stream)
        await asyncio.sleep(5)

    async with served([Scripted(before=late)]) as channel:
        began = trio.current_time()
        with pytest.raises((TimeoutError, GRPCError, StreamTerminatedError)):
            await GrpcSchoolClient(channel, seconds=0.6).find(1)
        assert trio.current_time() - began < 2
