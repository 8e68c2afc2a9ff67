"""Fields that keep browsers from misusing the gateway's pages and responses."""

from __future__ import annotations

import httpx
import pytest
import trio.testing

from tests.gateway.running_gateway import RunningGateway, in_process_gateway
from tests.gateway.scripted_service import DEAD, ScriptedService

OURS = (
    *("/", "/health", "/livez", "/readyz", "/metrics", "/docs", "/docs/", "/docs/openapi.json"),
    *("/docs/assets/docs.js", "/docs/assets/nothing", "/dashboard", "/dashboard/assets/main.js"),
    *("/admin/breakers", "/nowhere", "/schools", "/auth/x"),
)


def assert_protected(answer: httpx.Response) -> None:
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"]


@pytest.mark.parametrize("path", OURS)
async def test_every_answer_of_the_gateways_own_has_them(
    gateway: RunningGateway,
    services: dict[str, ScriptedService],
    path: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    services["auth"].answer = DEAD
    assert_protected(await gateway.client().get(path))


@pytest.mark.parametrize("path", ["/admin/breakers", "/health", "/metrics", "/schools", "/auth/x"])
async def test_where_tokens_travel_nothing_is_stored(
    gateway: RunningGateway,
    services: dict[str, ScriptedService],
    path: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    services["auth"].answer = DEAD
    assert (await gateway.client().get(path)).headers["cache-control"] == "no-store"


async def test_a_services_answer_keeps_its_own_fields(
    gateway: RunningGateway, services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    services["auth"].answer = httpx.Response(200, headers={"cache-control": "max-age=60"})
    answer = await gateway.client().get("/auth/x")
    assert answer.headers["cache-control"] == "max-age=60"
    assert "content-security-policy" not in answer.headers


async def test_a_refused_stream_has_them(
    services: dict[str, ScriptedService],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    monkeypatch.setattr("gateway.dashboard.places.PLACES_OF_A_CLIENT", 0)
    async with in_process_gateway(services) as gateway:
        answer = await gateway.client().get("/dashboard/events")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
        assert_protected(answer)
