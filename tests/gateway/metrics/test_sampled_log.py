"""The gateway's log in an outage: one line a second for any number of rejected requests."""

from __future__ import annotations

from typing import Any

import httpx
import structlog
import trio
import trio.testing

from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import DEAD, ScriptedService


def requests(lines: list[Any]) -> list[Any]:
    return [one for one in lines if one["event"] == "request"]


def counted(lines: list[Any]) -> int:
    return sum(one["count"] for one in lines if one["event"] == "more requests rejected")


async def test_rejected_requests_are_sampled_and_failed_ones_are_not(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    services["auth"].answer = DEAD
    async with in_process_gateway(services) as gateway:
        with structlog.testing.capture_logs() as lines:
            for _ in range(105):
                await gateway.client().get("/auth/x")
            await trio.sleep(2)
    assert [one["status"] for one in requests(lines)] == [502] * 5 + [503]
    assert counted(lines) == 99


async def test_rejections_by_a_services_own_breaker_are_sampled_and_its_failures_are_not(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    origin = {"X-Failure-Origin": "auth-database"}
    async with in_process_gateway(services) as gateway:
        with structlog.testing.capture_logs() as lines:
            services["auth"].answer = httpx.Response(503, headers=origin)
            for _ in range(5):
                await gateway.client().get("/auth/x")
            services["auth"].answer = httpx.Response(503, headers={**origin, "Retry-After": "60"})
            for _ in range(50):
                await gateway.client().get("/auth/x")
            await trio.sleep(2)
    assert [one["breaker"] for one in requests(lines)] == ["auth-database"] * 6
    assert counted(lines) == 49
