"""The admin API's actions, on the gateway's breakers and on those of the services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import structlog
import trio
from trio.testing import MockClock

from actors import State
from gateway.routes import SERVICES
from tests.gateway.pages.admin_stack import open_admin_stack

NAMES = [name for one in SERVICES for name in (one.breaker, *one.dependencies)]


@pytest.mark.parametrize("sent", [b"{", b"[]", b"\xff", b'{"reason": 3}', b'{"max_failures": NaN}'])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "auth-database/trip"), ("PUT", "auth-service-http/policy"), ("POST", "reload")],
)
async def test_an_invalid_body_is_400_and_changes_nothing(
    tmp_path: Path, method: str, path: str, sent: bytes
) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask(method, f"/admin/breakers/{path}", content=sent)
        said = answer.json()
        assert answer.status_code == 400
        assert (said["error"], said["message"]) in [
            ("INVALID_REQUEST", "the body must be JSON"),
            ("INVALID_REQUEST", "the body must be a JSON object"),
            ("VALIDATION_ERROR", "reason: Input should be a valid string"),
        ]
        assert stack.panels["auth"]["auth-database"].state is State.CLOSED
        assert stack.gateway.panel["auth-service-http"].config.max_failures == 5


async def test_all_breakers_are_listed_with_their_processes(tmp_path: Path) -> None:
    """A breaker of a process that doesn't answer has an error."""
    async with open_admin_stack(tmp_path) as stack:
        stack.lines["school"].app = None
        found = (await stack.ask("GET", "/admin/breakers")).json()["data"]
        assert sorted(one["name"] for one in found) == sorted(NAMES)
        by_name = {one["name"]: one for one in found}
        assert by_name["student-service-grpc"]["owner"] == "student-service"
        assert by_name["auth-service-http"]["owner"] == "api-gateway"
        assert by_name["school-database"]["state"] is None
        assert by_name["school-database"]["error"] == "school-service doesn't answer"


@pytest.mark.parametrize("name", ["auth-service-http", "student-service-grpc"])
@pytest.mark.parametrize(
    ("action", "state", "said"),
    [
        ("trip", "OPEN", "tripped by operator: new disk"),
        ("force_open", "FORCED_OPEN", "forced by operator: new disk"),
        ("disable", "DISABLED", "disabled by operator: new disk"),
        ("observe", "OBSERVING", "observed by operator: new disk"),
    ],
)
async def test_each_action_changes_the_state_and_is_logged(
    tmp_path: Path, name: str, action: str, state: str, said: str
) -> None:
    """On the gateway's breakers and on a service's. `reset` undoes it."""
    async with open_admin_stack(tmp_path) as stack:
        with structlog.testing.capture_logs() as lines:
            seen = await stack.post(f"{name}/{action}", "new disk")
        assert (seen["state"], seen["reason"]) == (state, said)
        [line] = [one for one in lines if one.get("action") == action]
        assert (line["breaker"], line["who"], line["reason"]) == (name, "ADMIN_TOKEN", "new disk")
        assert (await stack.post(f"{name}/reset"))["state"] == "CLOSED"


async def test_an_action_without_a_body_has_a_default_reason(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("POST", "/admin/breakers/auth-service-http/force_open")
        assert answer.json()["data"]["reason"] == "forced by operator"


async def test_an_action_reaches_a_service_whose_breaker_is_open(tmp_path: Path) -> None:
    """It counts nothing on the gateway's breaker."""
    async with open_admin_stack(tmp_path) as stack:
        await stack.gateway.panel["auth-service-http"].force_open()
        assert (await stack.post("auth-database/trip"))["state"] == "OPEN"
        counts = (await stack.gateway.snapshot()).counts
        assert sum(counts.values()) == 0


async def test_a_service_that_refuses_connections_is_502_with_its_process(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        stack.lines["auth"].app = None
        answer = await stack.ask("POST", "/admin/breakers/auth-database/reset")
        assert answer.status_code == 502
        assert answer.json() == {"error": "SERVICE_UNAVAILABLE", "message": "auth-service doesn't answer"}


async def test_a_service_that_hangs_is_502_and_may_still_carry_out_the_command(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_admin_stack(tmp_path) as stack:
        for method, more in (("GET", ""), ("POST", "; it may still carry this out")):
            stack.lines["auth"].app = hang
            path = "/admin/breakers/auth-database"
            answer = await stack.ask(method, path if method == "GET" else f"{path}/trip")
            assert answer.status_code == 502
            assert answer.json()["message"] == f"auth-service doesn't answer{more}"


async def hang(_scope: object, _receive: object, _send: object) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("action", ["nonsense", "trip%3Fx", "trip%23x", "tr%0Aip", "trip%00", "..%2Freset"])
@pytest.mark.parametrize("breaker", ["auth-database", "auth-service-http"])
async def test_an_unknown_action_is_refused_and_never_becomes_part_of_a_url(
    tmp_path: Path, action: str, breaker: str
) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("POST", f"/admin/breakers/{breaker}/{action}")
        assert answer.status_code in (404, 405)
        assert {one.state for panel in stack.panels.values() for one in panel} == {State.CLOSED}


async def test_a_single_breaker_has_its_recent_failures_and_calls(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        breaker = stack.gateway.panel["auth-service-http"]
        await stack.ask("GET", "/admin/breakers/auth-service-http")
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await breaker.execute(_raises(httpx.ConnectError("no")))
        seen = (await stack.ask("GET", "/admin/breakers/auth-service-http")).json()["data"]
        assert [(one["count"], one["error"]) for one in seen["failures"]] == [(2, "ConnectError")]
        assert [bucket[1:] for bucket in seen["calls_by_time"]] == [[0, 2, 0, 0, 0]]
        assert seen["policy"]["max_failures"] == 5


def _raises(error: Exception) -> Callable[[], Awaitable[None]]:
    async def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nobody"),
        ("POST", "nobody/trip"),
        ("PUT", "nobody/policy"),
        ("POST", "auth-service-http/explode"),
        ("POST", "auth-database/explode"),
    ],
)
async def test_an_unknown_breaker_or_action_is_404_with_its_name(
    tmp_path: Path, method: str, path: str
) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask(method, f"/admin/breakers/{path}", json={})
        assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
        said = answer.json()["message"]
        assert ("'nobody'" if "nobody" in path else "'explode'; one of: trip, reset") in said
