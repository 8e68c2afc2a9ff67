"""A gateway and three services that consist of their breakers and the admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

from actors import CircuitBreakerConfig, Panel, open_panel
from gateway.routes import SERVICES
from runtime.admin.api import add_breaker_admin
from runtime.config.settings import ProcessSettings
from runtime.web.app import service_app
from tests.gateway.running_gateway import RunningGateway, in_process_gateway

TOKEN = "an-admin-token-of-32-characters-or-more"


ADMIN = {"Authorization": f"Bearer {TOKEN}"}


class LateService(httpx.AsyncBaseTransport):
    """The way to a service that is made later, and may be cut."""

    def __init__(self) -> None:
        self.app: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.app is None:
            raise httpx.ConnectError("connection refused")
        return await httpx.ASGITransport(self.app).handle_async_request(request)


@dataclass
class AdminStack:
    """A gateway, and services that have nothing but their breakers."""

    gateway: RunningGateway
    panels: dict[str, Panel]
    lines: dict[str, LateService]
    policies: Path

    async def ask(
        self, method: str, path: str, headers: dict[str, str] = ADMIN, **more: Any
    ) -> httpx.Response:
        async with self.gateway.client() as client:
            return await client.request(method, path, headers=headers, **more)

    async def post(self, path: str, reason: str = "") -> Any:
        answer = await self.ask("POST", f"/admin/breakers/{path}", json={"reason": reason})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


def never(_error: BaseException) -> bool:
    """A predicate that a change of policy must keep."""
    return False


@asynccontextmanager
async def open_admin_stack(path: Path, admin_token: str | None = TOKEN) -> AsyncIterator[AdminStack]:
    """All seven breakers, in their processes' own panels."""
    policies = path / "breakers.toml"
    policies.write_text("[breakers.auth-database]\nmax_failures = 5\n")
    lines = {one.name: LateService() for one in SERVICES}
    chosen: dict[str, Any] = {"admin_token": admin_token, "circuit_breakers": policies}
    async with (
        open_panel() as auth,
        open_panel() as schools,
        open_panel() as student,
        in_process_gateway(lines, **chosen) as built,
        trio.open_nursery() as nursery,
    ):
        panels = {"auth": auth, "school": schools, "student": student}
        for one in SERVICES:
            for name in one.dependencies:
                panels[one.name].breaker(CircuitBreakerConfig(name=name, failure=never))
            app = service_app(one.process, panels[one.name])
            _, admin = add_breaker_admin(
                app, one.process, panels[one.name], built.issuer.keys, ProcessSettings(**chosen)
            )
            await nursery.start(admin.commands.run)
            lines[one.name].app = app
        await nursery.start(built.app.extensions["admin"].commands.run)
        yield AdminStack(built, panels, lines, policies)
        nursery.cancel_scope.cancel()
