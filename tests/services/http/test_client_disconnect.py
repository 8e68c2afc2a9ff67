"""A client that hangs up, over real sockets: all work for it ends, and no breaker counts it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
import trio_asyncio

from actors import CircuitBreakerConfig, Panel
from runtime.serving import serve
from services.grpc.server import serve_grpc
from services.mongo.dependency import database_dependency
from services.school.grpc_service import grpc_services
from services.school.schemas import UNIQUE as SCHOOL_RULES
from services.student.app import REJECTION_MESSAGE, Students, create_app
from services.student.schemas import UNIQUE as STUDENT_RULES
from services.student.school_client import GrpcSchoolClient, SchoolCheck, open_channel
from tests.tokens import Issuer
from tests.world.fake_repositories import FakeRepository

ADA = {"roll_number": "1", "first_name": "Ada", "last_name": "L", "school_id": 1}


class Chain:
    """HTTP to a student service, gRPC from there to a school service, each on a repository in memory."""

    def __init__(self) -> None:
        self.schools = FakeRepository(SCHOOL_RULES)
        self.students = FakeRepository(STUDENT_RULES)
        self.port = 0


@pytest.fixture
async def chain(
    panel: Panel, issuer: Issuer, loop: trio_asyncio.TrioEventLoop, nursery: trio.Nursery
) -> AsyncIterator[Chain]:
    made = Chain()
    school_dependency = database_dependency(panel, CircuitBreakerConfig(name="school-database"), "closed")
    student_dependency = database_dependency(
        panel, CircuitBreakerConfig(name="student-database"), REJECTION_MESSAGE
    )
    never = trio.Event()
    rpc = partial(
        serve_grpc,
        grpc_services(made.schools, school_dependency),
        host="127.0.0.1",
        port=0,
        stop=never.wait,
    )
    async with open_channel(f"127.0.0.1:{await nursery.start(rpc)}") as channel:
        check = SchoolCheck(
            GrpcSchoolClient(channel), panel, CircuitBreakerConfig(name="student-service-grpc")
        )
        app = create_app(Students(made.students, student_dependency, check), panel=panel, keys=issuer.keys)
        made.port = await nursery.start(partial(serve, app, host="127.0.0.1", port=0, stop=never.wait))
        yield made
        nursery.cancel_scope.cancel()


async def send(chain: Chain, issuer: Issuer) -> trio.SocketStream:
    """Send a request that creates a student, and read no response."""
    body = json.dumps(ADA).encode()
    head = f"POST /students HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in issuer.headers().items())
    stream = await trio.open_tcp_stream("127.0.0.1", chain.port)
    await stream.send_all(f"{head}{fields}\r\n".encode() + body)
    return stream


async def until_running(repository: FakeRepository, count: int) -> float:
    """Wait until `count` operations run; return the seconds."""
    started = trio.current_time()
    with trio.fail_after(2):
        while repository.faults.running != count:  # noqa: ASYNC110 - a repository has no event
            await trio.sleep(0.002)
    return trio.current_time() - started


@pytest.mark.parametrize("slow", ["schools", "students"])
async def test_hanging_up_cancels_the_operation_at_the_far_end(
    chain: Chain, issuer: Issuer, panel: Panel, slow: str
) -> None:
    await chain.schools.create({"registration_number": "R-1", "name": "North"})
    repository: FakeRepository = getattr(chain, slow)
    repository.faults.delay = math.inf
    stream = await send(chain, issuer)
    await until_running(repository, 1)
    await stream.aclose()
    assert await until_running(repository, 0) < 1, "long before any deadline"
    assert chain.students.records == {}
    await trio.sleep(0.02)
    for name, snapshot in (await panel.snapshots()).items():
        assert (snapshot.counts["failure"], snapshot.in_flight) == (0, 0), name
