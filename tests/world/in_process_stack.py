"""The whole school in one process: gateway and services, no socket, no database, a clock moved by hand.

HTTP goes through ASGI, gRPC through grpclib's own in-memory channel, MongoDB is a store in memory.
Between the parts is a CuttableTransport, which can be cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio
import trio_asyncio
from grpclib.testing import ChannelFor
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.adapters.logs import log_transitions
from gateway.app import create_app as create_gateway
from gateway.settings import GatewaySettings
from gateway.upstream.breakers import open_breakers
from runtime.auth import TokenVerifier, jwks_over_http
from runtime.config.policy_file import load_breakers
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE as AUTH_OPEN
from services.auth.app import create_app as create_auth
from services.auth.limits.guessing import GuessLimiter
from services.auth.passwords import Passwords
from services.dependency import Dependency
from services.mongo.dependency import database_dependency
from services.school.app import REJECTION_MESSAGE as SCHOOL_OPEN
from services.school.app import create_app as create_school
from services.school.grpc_service import grpc_services
from services.school.repository import UNIQUE as SCHOOL_UNIQUE
from services.student.app import REJECTION_MESSAGE as STUDENT_OPEN
from services.student.app import create_app as create_student
from services.student.repository import UNIQUE as STUDENT_UNIQUE
from services.student.school_client import GrpcSchoolClient, SchoolCheck, SchoolRef
from services.student.students import Students
from tests.services.auth.fake_repository import FakeAccountRepository
from tests.world.fake_repositories import FakeRepository

POLICIES = Path(__file__).parents[2] / "breakers.toml"


class CuttableTransport(httpx.AsyncBaseTransport):
    """The transport to a service. While it is cut, connections are refused."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app)
        self._up = True
        self.passed = 0

    def cut(self) -> None:
        self._up = False

    def mend(self) -> None:
        self._up = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self._up:
            raise httpx.ConnectError("connection refused")
        if request.url.path not in ("/health", "/openapi.json", "/.well-known/jwks.json"):
            self.passed += 1
        return await self._inner.handle_async_request(request)


class SchoolLine:
    """The student service's way to the school service's gRPC."""

    def __init__(self, inner: GrpcSchoolClient) -> None:
        self._inner = inner
        self.up = True
        self.passed = 0

    async def find(self, school_id: int) -> SchoolRef | None:
        if not self.up:
            raise ConnectionRefusedError("connection refused")
        self.passed += 1
        return await self._inner.find(school_id)


@dataclass
class InProcessStack:
    """The parts of the stack, by the names in contract and configuration."""

    client: httpx.AsyncClient
    lines: Mapping[str, CuttableTransport]
    grpc: SchoolLine
    accounts: FakeAccountRepository
    schools: FakeRepository
    students: FakeRepository
    panels: Mapping[str, Panel]

    def state(self, breaker: str) -> str:
        """The state last published of any breaker of the stack."""
        panel = next(panel for panel in self.panels.values() if breaker in panel)
        return panel[breaker].state.name

    async def login(self) -> httpx.Response:
        return await self.client.post("/auth/login", json={"email": "ada@example.com", "password": "secret1"})

    async def sign_in(self) -> None:
        """Make an account and send its token with every request from now on."""
        person = {"email": "ada@example.com", "password": "secret1", "first_name": "Ada", "last_name": "L"}
        assert (await self.client.post("/auth/signup", json=person)).status_code == 201
        token = (await self.login()).json()["data"]["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    async def add_school(self, number: str = "S-1") -> int:
        answer = await self.client.post("/schools", json={"registration_number": number, "name": "First"})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["data"]["id"])

    async def add_student(self, school_id: int, roll: str) -> httpx.Response:
        student = {"roll_number": roll, "first_name": "Al", "last_name": "Go", "school_id": school_id}
        return await self.client.post("/students", json=student)

    async def health(self) -> tuple[int, dict[str, Any]]:
        answer = await self.client.get("/health")
        return answer.status_code, answer.json()["data"]


@asynccontextmanager
async def open_in_process_stack() -> AsyncIterator[InProcessStack]:
    """A stack in which all is well."""
    policies = load_breakers(POLICIES, "default")
    async with (
        trio_asyncio.open_loop(),
        open_panel() as gateway,
        open_panel() as auth,
        open_panel() as school,
        open_panel() as student,
        trio.open_nursery() as nursery,
    ):
        for panel in (gateway, auth, school, student):
            await nursery.start(log_transitions, panel)
        accounts, schools, students = (
            FakeAccountRepository(),
            FakeRepository(SCHOOL_UNIQUE),
            FakeRepository(STUDENT_UNIQUE),
        )
        auth_guard = database_dependency(auth, policies["auth-database"], AUTH_OPEN)
        auth_line = CuttableTransport(create_auth(_accounts(accounts, auth_guard), auth))
        keys = TokenVerifier(jwks_over_http("http://auth", transport=auth_line))
        nursery.start_soon(keys.run)
        school_guard = database_dependency(school, policies["school-database"], SCHOOL_OPEN)
        school_app = create_school(repository=schools, database=school_guard, panel=school, keys=keys)
        async with aio_as_trio(ChannelFor(grpc_services(schools, school_guard))) as channel:
            grpc = SchoolLine(GrpcSchoolClient(channel, address="school:50051"))
            service = _student_service(students, grpc, student, policies)
            student_app = create_student(service, panel=student, keys=keys)
            lines = {
                "auth": auth_line,
                "school": CuttableTransport(school_app),
                "student": CuttableTransport(student_app),
            }
            app = create_gateway(
                GatewaySettings(rate_limit_per_minute=10_000, rate_limit_per_hour=100_000),
                gateway,
                open_breakers(gateway, policies),
                keys,
                lines,
            )
            await nursery.start(app.extensions["loop_time"].run)
            panels = {"gateway": gateway, "auth": auth, "school": school, "student": student}
            transport = httpx.ASGITransport(app, client=("192.0.2.1", 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                yield InProcessStack(client, lines, grpc, accounts, schools, students, panels)
            nursery.cancel_scope.cancel()


def _accounts(repository: FakeAccountRepository, database: Dependency) -> Accounts:
    # All clients of a test have one address.
    return Accounts(repository, database, Passwords(), guesses=GuessLimiter(10_000, 10_000))


def _student_service(
    students: FakeRepository, grpc: SchoolLine, panel: Panel, policies: Mapping[str, CircuitBreakerConfig]
) -> Students:
    guard = database_dependency(panel, policies["student-database"], STUDENT_OPEN)
    check = SchoolCheck(grpc, panel, policies["student-service-grpc"])
    return Students(students, guard, check)
