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
async def test_a_body_that_cannot_be_read_is_a_400_and_changes_nothing(
    tmp_path: Path, method: str, path: str, sent: bytes
) -> None:
    """It is said what is wrong with it."""
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


async def test_all_are_listed_with_their_owners(tmp_path: Path) -> None:
    """One whose process doesn't answer is there too, and says so."""
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
async def test_each_action_does_what_it_says(
    tmp_path: Path, name: str, action: str, state: str, said: str
) -> None:
    """On the gateway's breakers and on a service's, and `reset` takes it back; who and why are logged."""
    async with open_admin_stack(tmp_path) as stack:
        with structlog.testing.capture_logs() as lines:
            seen = await stack.post(f"{name}/{action}", "new disk")
        assert (seen["state"], seen["reason"]) == (state, said)
        [line] = [one for one in lines if one.get("action") == action]
        assert (line["breaker"], line["who"], line["reason"]) == (name, "ADMIN_TOKEN", "new disk")
        assert (await stack.post(f"{name}/reset"))["state"] == "CLOSED"


async def test_a_body_may_be_missing(tmp_path: Path) -> None:
    """The reason is then the action's own."""
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("POST", "/admin/breakers/auth-service-http/force_open")
        assert answer.json()["data"]["reason"] == "forced by operator"


async def test_a_service_is_steered_while_its_breaker_is_open(tmp_path: Path) -> None:
    """The way there doesn't pass through the gateway's breaker, and counts nothing on it."""
    async with open_admin_stack(tmp_path) as stack:
        await stack.gateway.panel["auth-service-http"].force_open()
        assert (await stack.post("auth-database/trip"))["state"] == "OPEN"
        counts = (await stack.gateway.snapshot()).counts
        assert sum(counts.values()) == 0


async def test_a_service_that_is_away_is_a_502(tmp_path: Path) -> None:
    """And names the process."""
    async with open_admin_stack(tmp_path) as stack:
        stack.lines["auth"].app = None
        answer = await stack.ask("POST", "/admin/breakers/auth-database/reset")
        assert (answer.status_code, answer.json()) == (
            502,
            {"error": "SERVICE_UNAVAILABLE", "message": "auth-service doesn't answer"},
        )


async def test_a_service_that_hangs_is_a_502_that_says_what_may_come(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The order has reached it, and nobody can take it back."""
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
async def test_an_action_is_one_of_those_there_are(tmp_path: Path, action: str, breaker: str) -> None:
    """It is no part of a URL before it is known."""
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("POST", f"/admin/breakers/{breaker}/{action}")
        assert answer.status_code in (404, 405)
        assert {one.state for panel in stack.panels.values() for one in panel} == {State.CLOSED}


async def test_one_breaker_tells_its_recent_past(tmp_path: Path) -> None:
    """Failures with their error, and calls by time."""
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
async def test_unknown_names_are_404(tmp_path: Path, method: str, path: str) -> None:
    """A breaker or an action that isn't there is named."""
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask(method, f"/admin/breakers/{path}", json={})
        assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
        said = answer.json()["message"]
        assert ("'nobody'" if "nobody" in path else "'explode'; one of: trip, reset") in said
