"""The admin API admits admins alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import structlog
from quart_trio import QuartTrio

from actors import State
from tests.gateway.pages.admin_stack import open_admin_stack

DOORS = [
    ("GET", "/admin/breakers"),
    ("GET", "/admin/breakers/auth-database"),
    ("POST", "/admin/breakers/auth-database/trip"),
    ("POST", "/admin/breakers/auth-service-http/reset"),
    ("PUT", "/admin/breakers/auth-database/policy"),
    ("POST", "/admin/breakers/reload"),
]


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_a_request_without_an_admins_token_is_refused(tmp_path: Path, method: str, path: str) -> None:
    """By the gateway, and by a service that gets it directly."""
    async with open_admin_stack(tmp_path) as stack:
        user = {"Authorization": f"Bearer {stack.gateway.issuer.token('user')}"}
        bad = {"Authorization": "Bearer nonsense"}
        apps: list[QuartTrio | None] = [stack.gateway.app, stack.lines["auth"].app]
        for app in apps:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                answers = [await client.request(method, path, headers=one) for one in ({}, bad, user)]
            codes = [(one.status_code, one.json()["error"]) for one in answers]
            assert codes == [(401, "MISSING_TOKEN"), (401, "INVALID_TOKEN"), (403, "FORBIDDEN")]
        assert {breaker.state for panel in stack.panels.values() for breaker in panel} == {State.CLOSED}


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_two_tokens_are_refused(tmp_path: Path, method: str, path: str) -> None:
    """By the gateway, and by a service: two readers of the request may take different ones."""
    async with open_admin_stack(tmp_path) as stack:
        admin = f"Bearer {stack.gateway.issuer.token('admin')}"
        two = httpx.Headers([("Authorization", admin), ("Authorization", admin)])
        apps: list[QuartTrio | None] = [stack.gateway.app, stack.lines["auth"].app]
        for app in apps:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                assert (await client.request(method, path, headers=two)).status_code == 401


async def test_a_refusal_is_logged_with_its_reason_and_without_the_token(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        with structlog.testing.capture_logs() as lines:
            for token in ("", "Bearer nonsense", f"Bearer {stack.gateway.issuer.token('user')}"):
                await stack.ask("POST", "/admin/breakers/auth-database/trip", {"Authorization": token})
        said = [(one["error"], one["reason"]) for one in lines if one["event"] == "request"]
        assert said == [
            ("MISSING_TOKEN", "no bearer token"),
            ("INVALID_TOKEN", "malformed"),
            ("FORBIDDEN", "only an admin may do this"),
        ]
        assert "nonsense" not in str(lines)


async def test_an_admins_access_token_is_accepted(tmp_path: Path) -> None:
    """By the service as well."""
    async with open_admin_stack(tmp_path) as stack:
        admin = {"Authorization": f"Bearer {stack.gateway.issuer.token('admin')}"}
        answer = await stack.ask("POST", "/admin/breakers/auth-database/trip", admin)
        assert (answer.status_code, answer.json()["data"]["state"]) == (200, "OPEN")


@pytest.mark.parametrize("given", ["None", "", " ", "null"])
async def test_without_admin_token_no_fixed_token_is_accepted(tmp_path: Path, given: str) -> None:
    async with open_admin_stack(tmp_path, admin_token=None) as stack:
        answer = await stack.ask("GET", "/admin/breakers", {"Authorization": f"Bearer {given}"})
        assert answer.status_code == 401
