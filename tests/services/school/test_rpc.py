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
from services.dependency import guard_database
from services.grpc.server import serve_rpc
from services.school.grpc_service import SchoolRpc, rpc_services
from services.school.schemas import UNIQUE
from services.student.school_client import open_channel
from tests.world.fake_repositories import FakeRepository

CONFIG = CircuitBreakerConfig(name="school-database", max_failures=5, reset_timeout=60)
NORTH = {"registration_number": "R-1", "name": "North", "address": None, "phone": "1", "email": None}
STAMPS = {"created_at": "2024-05-06T12:00:00.000Z", "updated_at": "2024-05-06T12:00:00.000Z"}


@pytest.fixture
async def store() -> FakeRepository:
    store = FakeRepository(UNIQUE)
    await store.create({**NORTH, **STAMPS})
    return store


@pytest.fixture
def services(panel: Panel, store: FakeRepository) -> list[Any]:
    return rpc_services(store, guard_database(panel, CONFIG, "closed for now"))


@pytest.fixture
async def channel(services: list[Any], loop: trio_asyncio.TrioEventLoop) -> AsyncIterator[Channel]:
    async with aio_as_trio(ChannelFor(services)) as opened:
        yield opened


async def validate(channel: Channel, school_id: str, **more: Any) -> Any:
    return await aio_as_trio(SchoolServiceStub(channel).ValidateSchool)(
        ValidateSchoolRequest(id=school_id), **more
    )


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


async def test_a_schools_record_travels_as_text(channel: Channel) -> None:
    reply = await get(channel, "1")
    assert reply.found
    assert reply.school == School(
        id="1", registration_number="R-1", name="North", address="", phone="1", email="", **STAMPS
    )


async def test_a_school_that_is_not_there_is_not_found(channel: Channel) -> None:
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
    channel: Channel, store: FakeRepository
) -> None:
    store.faults.fail()
    messages = [(await refused(channel, "1")) for _ in range(6)]
    assert {error.status for error in messages} == {Status.UNAVAILABLE}
    assert messages[5].message == "closed for now"
    assert store.faults.operations == 1 + 5


async def test_each_call_leaves_a_line_but_no_question_about_health(
    channel: Channel, store: FakeRepository
) -> None:
    """Answered, asked wrongly, failed, turned away: with the caller's id, and whose fault it was."""
    mine = {"metadata": {"x-request-id": "mine"}}
    with capture_logs(processors=[merge_contextvars]) as lines:
        await validate(channel, "1", **mine)
        await refused(channel, "x", **mine)
        store.faults.fail()
        for _ in range(6):
            await refused(channel, "1", **mine)
        await aio_as_trio(HealthStub(channel).Check)(HealthCheckRequest())
    told = [line for line in lines if line["event"] == "request"]
    assert {(line["request_id"], line["method"]) for line in told} == {
        ("mine", "school.SchoolService/ValidateSchool")
    }
    assert all(line["duration_ms"] > 0 for line in told)
    why = [(line["status"], line.get("reason"), line.get("breaker")) for line in told]
    assert why[0] == ("OK", None, None)
    assert (why[1][0], why[1][2]) == ("INVALID_ARGUMENT", None)
    assert why[2:] == [
        *[("UNAVAILABLE", "database error", "school-database")] * 5,
        ("UNAVAILABLE", "closed for now", "school-database"),
    ]


async def test_a_caller_that_leaves_leaves_a_line(channel: Channel, store: FakeRepository) -> None:
    store.faults.delay = math.inf
    with capture_logs() as lines:
        with trio.move_on_after(0.05):
            await validate(channel, "1")
        await trio.sleep(0.05)
    assert [line["status"] for line in lines if line["event"] == "request"] == ["CANCELLED"]


async def test_a_callers_deadline_reaches_the_store(channel: Channel, store: FakeRepository) -> None:
    store.faults.delay = math.inf
    with pytest.raises((TimeoutError, GRPCError)):
        await validate(channel, "1", timeout=0.1)
    assert store.faults.seconds_given < 0.1
    await trio.sleep(0.05)
    assert store.faults.running == 0


async def test_a_cancelled_caller_cancels_the_store_and_counts_nowhere(
    channel: Channel, store: FakeRepository, panel: Panel
) -> None:
    store.faults.delay = math.inf
    with trio.move_on_after(0.05):
        await validate(channel, "1")
    await trio.sleep(0.05)
    assert store.faults.running == 0
    counts = (await panel["school-database"].snapshot()).counts
    assert (counts["cancelled"], counts["failure"]) == (1, 0)


@pytest.mark.parametrize("service", ["", "school.SchoolService"])
async def test_health_is_served(channel: Channel, service: str) -> None:
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
        await serve_rpc(
            services, host="127.0.0.1", port=0, stop=stop.wait, grace=0.5, task_status=task_status
        )
        done.set()

    port = await nursery.start(serve)
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield Running(channel, stop, done)
        stop.set()
        with trio.fail_after(2):
            await done.wait()


async def test_an_answer_that_nobody_waits_for_is_no_fault(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller leaves in the moment in which the answer is there: the log holds no error of it."""
    asked, found = trio.Event(), trio.Event()

    async def find(*_: object) -> None:
        asked.set()
        with trio.CancelScope(shield=True):
            await found.wait()

    monkeypatch.setattr(SchoolRpc, "_find", find)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(validate, running.channel, "1")
            await asked.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep(0.05)
        found.set()
        await trio.sleep(0.05)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


async def test_stopping_ends_though_a_connection_is_open(running: Running) -> None:
    assert (await validate(running.channel, "1")).exists
    running.stop.set()
    with trio.fail_after(0.4):
        await running.done.wait()
        # The client has noticed and tries anew, to find nobody.
        with pytest.raises((OSError, StreamTerminatedError)):
            await validate(running.channel, "1")


async def test_stopping_lets_a_call_in_flight_finish_and_takes_no_new_one(
    running: Running, store: FakeRepository
) -> None:
    outcomes: list[Any] = []

    async def ask() -> None:
        outcomes.append(await validate(running.channel, "1"))

    assert await validate(running.channel, "1")
    store.faults.delay = 0.2
    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.sleep(0.05)
        running.stop.set()
        await trio.sleep(0.02)
        assert (await refused(running.channel, "1")).status is Status.UNAVAILABLE
        assert not running.done.is_set()
    assert outcomes[0].exists


async def test_a_call_that_does_not_finish_is_cut_off_after_the_grace(
    running: Running, store: FakeRepository, nursery: trio.Nursery
) -> None:
    async def stop_soon() -> None:
        await trio.sleep(0.05)
        running.stop.set()

    store.faults.delay = math.inf
    nursery.start_soon(stop_soon)
    with trio.fail_after(2), pytest.raises((GRPCError, StreamTerminatedError)):
        await validate(running.channel, "1")
    await running.done.wait()
    assert store.faults.running == 0
