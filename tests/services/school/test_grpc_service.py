"""The school service over gRPC."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
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
from grpclib.testing import ChannelFor
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel
from protocols.school_grpc import SchoolServiceStub
from protocols.school_pb2 import GetSchoolRequest, School, ValidateSchoolRequest
from services.grpc.server import serve_grpc
from services.mongo.dependency import database_dependency
from services.school.grpc_service import SchoolGrpcService, grpc_services
from services.school.schemas import UNIQUE
from services.student.school_client import open_channel
from tests.world.fake_repositories import FakeRepository

CONFIG = CircuitBreakerConfig(name="school-database", max_failures=5, reset_timeout=60)
NORTH = {"registration_number": "R-1", "name": "North", "address": None, "phone": "1", "email": None}
STAMPS = {"created_at": "2024-05-06T12:00:00.000Z", "updated_at": "2024-05-06T12:00:00.000Z"}


@pytest.fixture
async def repository() -> FakeRepository:
    repository = FakeRepository(UNIQUE)
    await repository.create({**NORTH, **STAMPS})
    return repository


@pytest.fixture
def services(panel: Panel, repository: FakeRepository) -> list[Any]:
    return grpc_services(repository, database_dependency(panel, CONFIG, "closed for now"))


@pytest.fixture
async def channel(services: list[Any], loop: trio_asyncio.TrioEventLoop) -> AsyncIterator[Channel]:
    async with aio_as_trio(ChannelFor(services)) as opened:
        yield opened


async def validate(channel: Channel, school_id: str, **more: Any) -> Any:
    return await aio_as_trio(SchoolServiceStub(channel).ValidateSchool)(
        ValidateSchoolRequest(id=school_id), **more
    )


async def cancel_while_running(channel: Channel, repository: FakeRepository) -> None:
    """Call the service, and cancel the call once its database operation runs."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(validate, channel, "1")
            await running_operation(repository)
            nursery.cancel_scope.cancel()


async def running_operation(repository: FakeRepository) -> None:
    """Wait until an operation on the repository runs."""
    while repository.faults.running == 0:  # noqa: ASYNC110
        await trio.sleep(0.005)


async def get(channel: Channel, school_id: str) -> Any:
    return await aio_as_trio(SchoolServiceStub(channel).GetSchool)(GetSchoolRequest(id=school_id))


async def refused(channel: Channel, school_id: str, **more: Any) -> GRPCError:
    with pytest.raises(GRPCError) as raised:
        await validate(channel, school_id, **more)
    return raised.value


async def test_a_known_school_exists_and_has_a_name(channel: Channel) -> None:
    reply = await validate(channel, "1")
    assert (reply.exists, reply.name) == (True, "North")


async def test_an_unknown_school_does_not_exist(channel: Channel) -> None:
    reply = await validate(channel, "2")
    assert (reply.exists, reply.name) == (False, "")


async def test_a_schools_record_is_sent_as_text(channel: Channel) -> None:
    reply = await get(channel, "1")
    assert reply.found
    assert reply.school == School(
        id="1", registration_number="R-1", name="North", address="", phone="1", email="", **STAMPS
    )


async def test_an_absent_school_is_not_found(channel: Channel) -> None:
    reply = await get(channel, "2")
    assert not reply.found
    assert not reply.HasField("school")


@pytest.mark.parametrize("school_id", ["", "0", "-1", "1e9", "٣", "abc", str(2**70)])
async def test_a_malformed_id_is_an_invalid_argument(channel: Channel, school_id: str) -> None:
    assert (await refused(channel, school_id)).status is Status.INVALID_ARGUMENT
    with pytest.raises(GRPCError) as raised:
        await get(channel, school_id)
    assert raised.value.status is Status.INVALID_ARGUMENT


async def test_a_database_fault_is_unavailable_and_so_is_its_open_breaker(
    channel: Channel, repository: FakeRepository
) -> None:
    repository.faults.fail()
    messages = [(await refused(channel, "1")) for _ in range(6)]
    assert {error.status for error in messages} == {Status.UNAVAILABLE}
    assert messages[5].message == "closed for now"
    assert repository.faults.operations == 1 + 5


async def test_each_call_has_a_log_line_except_health_checks(
    channel: Channel, repository: FakeRepository
) -> None:
    """With the caller's request id and the reason."""
    mine = {"metadata": {"x-request-id": "mine"}}
    with capture_logs(processors=[merge_contextvars]) as lines:
        await validate(channel, "1", **mine)
        await refused(channel, "x", **mine)
        repository.faults.fail()
        for _ in range(6):
            await refused(channel, "1", **mine)
        await aio_as_trio(HealthStub(channel).Check)(HealthCheckRequest())
    requests = [line for line in lines if line["event"] == "request"]
    assert {(line["request_id"], line["method"]) for line in requests} == {
        ("mine", "school.SchoolService/ValidateSchool")
    }
    assert all(line["duration_ms"] > 0 for line in requests)
    outcomes = [(line["status"], line.get("reason"), line.get("breaker")) for line in requests]
    assert outcomes[0] == ("OK", None, None)
    assert (outcomes[1][0], outcomes[1][2]) == ("INVALID_ARGUMENT", None)
    assert outcomes[2:] == [
        *[("UNAVAILABLE", "database error", "school-database")] * 5,
        ("UNAVAILABLE", "closed for now", "school-database"),
    ]


async def test_a_caller_that_disconnects_has_a_log_line(channel: Channel, repository: FakeRepository) -> None:
    repository.faults.delay = math.inf
    with capture_logs() as lines:
        await cancel_while_running(channel, repository)
        await trio.sleep(0.05)
    assert [line["status"] for line in lines if line["event"] == "request"] == ["CANCELLED"]


async def test_a_callers_deadline_limits_the_database_operation(
    channel: Channel, repository: FakeRepository
) -> None:
    repository.faults.delay = math.inf
    with pytest.raises((TimeoutError, GRPCError)):
        await validate(channel, "1", timeout=1)
    assert repository.faults.seconds_given < 1
    await trio.sleep(0.05)
    assert repository.faults.running == 0


async def test_a_cancelled_caller_cancels_the_database_operation_and_counts_neither_way(
    channel: Channel, repository: FakeRepository, panel: Panel
) -> None:
    repository.faults.delay = math.inf
    await cancel_while_running(channel, repository)
    await trio.sleep(0.05)
    assert repository.faults.running == 0
    counts = (await panel["school-database"].snapshot()).counts
    assert (counts["cancelled"], counts["failure"]) == (1, 0)


@pytest.mark.parametrize("service", ["", "school.SchoolService"])
async def test_the_health_service_is_served(channel: Channel, service: str) -> None:
    reply = await aio_as_trio(HealthStub(channel).Check)(HealthCheckRequest(service=service))
    assert reply.status == HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(channel: Channel) -> None:
    [reply] = await aio_as_trio(ServerReflectionStub(channel).ServerReflectionInfo)(
        [ServerReflectionRequest(list_services="")]
    )
    names = {service.name for service in reply.list_services_response.service}
    assert {"school.SchoolService", "grpc.health.v1.Health"} <= names


class Running:
    """A server on a real socket, and a channel to it."""

    def __init__(self, channel: Channel, stop: trio.Event, done: trio.Event) -> None:
        self.channel, self.stop, self.done = channel, stop, done


@pytest.fixture
async def running(
    services: list[Any], loop: trio_asyncio.TrioEventLoop, nursery: trio.Nursery
) -> AsyncIterator[Running]:
    stop, done = trio.Event(), trio.Event()

    async def serve(task_status: trio.TaskStatus[int]) -> None:
        await serve_grpc(
            services, host="127.0.0.1", port=0, stop=stop.wait, grace=1.0, task_status=task_status
        )
        done.set()

    port = await nursery.start(serve)
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield Running(channel, stop, done)
        stop.set()
        with trio.fail_after(5):
            await done.wait()


async def test_a_response_to_a_caller_that_has_left_is_no_error(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, found = trio.Event(), trio.Event()

    async def find(*_: object) -> None:
        started.set()
        with trio.CancelScope(shield=True):
            await found.wait()

    monkeypatch.setattr(SchoolGrpcService, "_find", find)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(validate, running.channel, "1")
            await started.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep(0.05)
        found.set()
        await trio.sleep(0.05)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


async def test_stopping_does_not_wait_for_an_open_connection(running: Running) -> None:
    assert (await validate(running.channel, "1")).exists
    running.stop.set()
    with trio.fail_after(0.9):
        await running.done.wait()
        # The client has noticed, reconnects, and is refused.
        with pytest.raises((OSError, StreamTerminatedError)):
            await validate(running.channel, "1")


async def test_stopping_lets_a_call_in_flight_finish_and_takes_no_new_one(
    running: Running, repository: FakeRepository
) -> None:
    outcomes: list[Any] = []

    async def validate_one() -> None:
        outcomes.append(await validate(running.channel, "1"))

    assert await validate(running.channel, "1")
    repository.faults.delay = 0.3
    async with trio.open_nursery() as calls:
        calls.start_soon(validate_one)
        await running_operation(repository)
        running.stop.set()
        await trio.sleep(0.02)
        assert (await refused(running.channel, "1")).status is Status.UNAVAILABLE
        assert not running.done.is_set()
    assert outcomes[0].exists


async def test_a_call_that_does_not_finish_is_cut_off_after_the_grace(
    running: Running, repository: FakeRepository, nursery: trio.Nursery
) -> None:
    async def stop_soon() -> None:
        await running_operation(repository)
        running.stop.set()

    repository.faults.delay = math.inf
    nursery.start_soon(stop_soon)
    with trio.fail_after(4), pytest.raises((GRPCError, StreamTerminatedError)):
        await validate(running.channel, "1")
    await running.done.wait()
    assert repository.faults.running == 0
