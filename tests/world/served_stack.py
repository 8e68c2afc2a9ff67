"""The whole school on real ports: gateway and services with their own servers, stores in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
import trio_asyncio
from argon2 import PasswordHasher

from actors import Panel, open_panel
from actors.messages import Snapshot
from runtime.auth import TokenVerifier
from runtime.config.policy_file import load_breakers
from runtime.serving import Limits, serve
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE as AUTH_OPEN
from services.auth.app import create_app as create_auth
from services.auth.limits.guessing import GuessLimiter
from services.auth.passwords import Passwords
from services.grpc.server import serve_grpc
from services.mongo.dependency import database_dependency
from services.school.app import REJECTION_MESSAGE as SCHOOL_OPEN
from services.school.app import create_app as create_school
from services.school.grpc_service import grpc_services
from services.school.repository import UNIQUE as SCHOOL_UNIQUE
from services.student.app import REJECTION_MESSAGE as STUDENT_OPEN
from services.student.app import create_app as create_student
from services.student.repository import UNIQUE as STUDENT_UNIQUE
from services.student.school_client import GrpcSchoolClient, SchoolCheck, open_channel
from services.student.students import Students
from tests.gateway.running_gateway import RunningGateway, served
from tests.services.auth.fake_repository import FakeAccountRepository
from tests.world.fake_repositories import FakeRepository
from tests.world.in_process_stack import POLICIES

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class ServedStack:
    """services: the panel of all three services' breakers. token: of a signed-in user."""

    gateway: RunningGateway
    services: Panel
    schools: FakeRepository
    students: FakeRepository
    token: str

    @property
    def port(self) -> int:
        return self.gateway.port

    async def snapshots(self) -> dict[str, Snapshot]:
        """The snapshots of all breakers of the stack."""
        return {**await self.gateway.panel.snapshots(), **await self.services.snapshots()}


@asynccontextmanager
async def open_served_stack(limits: Limits, **settings: Any) -> AsyncIterator[ServedStack]:
    """A stack in which all is well. limits: of the services' servers. settings: of the gateway."""
    policies = load_breakers(POLICIES, "default")
    schools, students, keys = FakeRepository(SCHOOL_UNIQUE), FakeRepository(STUDENT_UNIQUE), TokenVerifier()
    async with trio_asyncio.open_loop(), open_panel() as panel, trio.open_nursery() as nursery:

        async def start(app: Any) -> str:
            serving = partial(serve, app, host="127.0.0.1", port=0, limits=limits, stop=trio.sleep_forever)
            return f"http://127.0.0.1:{await nursery.start(serving)}"

        auth_guard = database_dependency(panel, policies["auth-database"], AUTH_OPEN)
        school_guard = database_dependency(panel, policies["school-database"], SCHOOL_OPEN)
        student_guard = database_dependency(panel, policies["student-database"], STUDENT_OPEN)
        rpc = grpc_services(schools, school_guard)
        rpc_port = await nursery.start(
            partial(serve_grpc, rpc, host="127.0.0.1", port=0, stop=trio.sleep_forever)
        )
        async with open_channel(f"127.0.0.1:{rpc_port}") as channel:
            check = SchoolCheck(GrpcSchoolClient(channel), panel, policies["student-service-grpc"])
            guesses = GuessLimiter(10_000, 10_000)  # all clients have one address
            accounts = Accounts(FakeAccountRepository(), auth_guard, Passwords(QUICK), guesses=guesses)
            school_app = create_school(repository=schools, database=school_guard, panel=panel, keys=keys)
            service = Students(students, student_guard, check)
            urls = {
                "auth": await start(create_auth(accounts, panel)),
                "school": await start(school_app),
                "student": await start(create_student(service, panel=panel, keys=keys)),
            }
            values = {"rate_limit_per_minute": 10_000, "rate_limit_per_hour": 100_000, **settings}
            async with served(**urls, **values) as gateway:
                keys.replace(gateway.issuer.document)
                yield ServedStack(gateway, panel, schools, students, gateway.issuer.token())
            nursery.cancel_scope.cancel()
