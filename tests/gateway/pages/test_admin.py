"""The admin API: who may, what each action does, and how the services' own breakers are reached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import trio
from quart_trio import QuartTrio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, FailureRate, Panel, State, open_panel
from gateway.routes import SERVICES
from runtime.admin.api import add_breaker_admin
from runtime.config.settings import ProcessSettings
from runtime.web.app import service_app
from tests.gateway.running_gateway import RunningGateway, in_process_gateway

TOKEN = "a-long-admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
NAMES = [name for one in SERVICES for name in (one.breaker, *one.dependencies)]

DOORS = [
    ("GET", "/admin/breakers"),
    ("GET", "/admin/breakers/auth-database"),
    ("POST", "/admin/breakers/auth-database/trip"),
    ("POST", "/admin/breakers/auth-service-http/reset"),
    ("PUT", "/admin/breakers/auth-database/policy"),
    ("POST", "/admin/breakers/reload"),
]


class Line(httpx.AsyncBaseTransport):
    """The way to a service that is made later, and may be cut."""

    def __init__(self) -> None:
        self.app: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.app is None:
            raise httpx.ConnectError("connection refused")
        return await httpx.ASGITransport(self.app).handle_async_request(request)


@dataclass
class School:
    """A gateway, and services that have nothing but their breakers."""

    gateway: RunningGateway
    panels: dict[str, Panel]
    lines: dict[str, Line]
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
async def school(path: Path, admin_token: str | None = TOKEN) -> AsyncIterator[School]:
    """All seven breakers, in their processes' own panels."""
    policies = path / "breakers.toml"
    policies.write_text("[breakers.auth-database]\nmax_failures = 5\n")
    lines = {one.name: Line() for one in SERVICES}
    chosen: dict[str, Any] = {"admin_token": admin_token, "circuit_breakers": policies}
    async with (
        open_panel() as auth,
        open_panel() as schools,
        open_panel() as student,
        in_process_gateway(lines, **chosen) as built,
    ):
        panels = {"auth": auth, "school": schools, "student": student}
        for one in SERVICES:
            for name in one.dependencies:
                panels[one.name].breaker(CircuitBreakerConfig(name=name, failure=never))
            app = service_app(one.process, panels[one.name])
            add_breaker_admin(
                app, one.process, panels[one.name], built.issuer.keys, ProcessSettings(**chosen)
            )
            lines[one.name].app = app
        yield School(built, panels, lines, policies)


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_only_admins_get_in(tmp_path: Path, method: str, path: str) -> None:
    """No token, a bad one, a user's: refused by the gateway, and by the service asked directly."""
    async with school(tmp_path) as stack:
        user = {"Authorization": f"Bearer {stack.gateway.issuer.token('user')}"}
        bad = {"Authorization": "Bearer nonsense"}
        apps: list[QuartTrio | None] = [stack.gateway.app, stack.lines["auth"].app]
        for app in apps:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
                answers = [await client.request(method, path, headers=one) for one in ({}, bad, user)]
            codes = [(one.status_code, one.json()["error"]) for one in answers]
            assert codes == [(401, "MISSING_TOKEN"), (401, "INVALID_TOKEN"), (403, "FORBIDDEN")]
        assert {breaker.state for panel in stack.panels.values() for breaker in panel} == {State.CLOSED}


async def test_who_is_refused_is_logged_with_the_reason_and_without_the_token(tmp_path: Path) -> None:
    """By the gateway, which did not ask the service."""
    async with school(tmp_path) as stack:
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


@pytest.mark.parametrize("sent", [b"{", b"[]", b"\xff", b'{"reason": 3}', b'{"max_failures": NaN}'])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "auth-database/trip"), ("PUT", "auth-service-http/policy"), ("POST", "reload")],
)
async def test_a_body_that_cannot_be_read_is_a_400_and_changes_nothing(
    tmp_path: Path, method: str, path: str, sent: bytes
) -> None:
    """It is said what is wrong with it."""
    async with school(tmp_path) as stack:
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


async def test_an_admins_access_token_gets_in(tmp_path: Path) -> None:
    """Also where the service asks again whose it is."""
    async with school(tmp_path) as stack:
        admin = {"Authorization": f"Bearer {stack.gateway.issuer.token('admin')}"}
        answer = await stack.ask("POST", "/admin/breakers/auth-database/trip", admin)
        assert (answer.status_code, answer.json()["data"]["state"]) == (200, "OPEN")


@pytest.mark.parametrize("given", ["None", "", " ", "null"])
async def test_without_the_setting_no_fixed_token_gets_in(tmp_path: Path, given: str) -> None:
    """Nobody gets in by guessing what nothing looks like."""
    async with school(tmp_path, admin_token=None) as stack:
        answer = await stack.ask("GET", "/admin/breakers", {"Authorization": f"Bearer {given}"})
        assert answer.status_code == 401


async def test_all_are_listed_with_their_owners(tmp_path: Path) -> None:
    """One whose process doesn't answer is there too, and says so."""
    async with school(tmp_path) as stack:
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
    async with school(tmp_path) as stack:
        with structlog.testing.capture_logs() as lines:
            seen = await stack.post(f"{name}/{action}", "new disk")
        assert (seen["state"], seen["reason"]) == (state, said)
        [line] = [one for one in lines if one.get("action") == action]
        assert (line["breaker"], line["who"], line["reason"]) == (name, "ADMIN_TOKEN", "new disk")
        assert (await stack.post(f"{name}/reset"))["state"] == "CLOSED"


async def test_a_body_may_be_missing(tmp_path: Path) -> None:
    """The reason is then the action's own."""
    async with school(tmp_path) as stack:
        answer = await stack.ask("POST", "/admin/breakers/auth-service-http/force_open")
        assert answer.json()["data"]["reason"] == "forced by operator"


async def test_a_service_is_steered_while_its_breaker_is_open(tmp_path: Path) -> None:
    """The way there doesn't pass through the gateway's breaker, and counts nothing on it."""
    async with school(tmp_path) as stack:
        await stack.gateway.panel["auth-service-http"].force_open()
        assert (await stack.post("auth-database/trip"))["state"] == "OPEN"
        counts = (await stack.gateway.snapshot()).counts
        assert sum(counts.values()) == 0


async def test_a_service_that_is_away_is_a_502(tmp_path: Path) -> None:
    """And names the process."""
    async with school(tmp_path) as stack:
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
    async with school(tmp_path) as stack:
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
    async with school(tmp_path) as stack:
        answer = await stack.ask("POST", f"/admin/breakers/{breaker}/{action}")
        assert answer.status_code in (404, 405)
        assert {one.state for panel in stack.panels.values() for one in panel} == {State.CLOSED}


@pytest.mark.parametrize("breaker", ["auth-database", "auth-service-http"])
@pytest.mark.parametrize("number", ["1e400", "1" + "0" * 400])
async def test_a_number_that_nothing_can_hold_is_refused(tmp_path: Path, breaker: str, number: str) -> None:
    """Wherever the breaker is."""
    async with school(tmp_path) as stack:
        sent = f'{{"reset_timeout": {number}}}'.encode()
        answer = await stack.ask("PUT", f"/admin/breakers/{breaker}/policy", content=sent)
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")


async def test_one_breaker_tells_its_recent_past(tmp_path: Path) -> None:
    """Failures with their error, and calls by time."""
    async with school(tmp_path) as stack:
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


@pytest.mark.parametrize("name", ["auth-service-http", "auth-database"])
async def test_a_policy_is_changed_in_place(tmp_path: Path, name: str) -> None:
    """What isn't named stays, code included; so does the state."""
    async with school(tmp_path) as stack:
        panel = stack.gateway.panel if name in stack.gateway.panel else stack.panels["auth"]
        before = panel[name].config
        await panel[name].trip()
        strategy = {"kind": "FailureRate", "rate": 0.5, "window": {"last_calls": 20}, "minimum_calls": 5}
        change = {"reset_timeout": 7, "trip": strategy, "reason": "busy day"}
        answer = await stack.ask("PUT", f"/admin/breakers/{name}/policy", json=change)
        assert answer.status_code == 200, answer.text
        after = panel[name].config
        assert (after.reset_timeout, after.max_failures, after.failure) == (7, 5, before.failure)
        assert isinstance(after.trip, FailureRate)
        assert panel[name].state is State.OPEN
        assert answer.json()["data"]["policy"]["trip"] == strategy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_failures": 0}, "max_failures"),
        ({"reset_timeout": "soon"}, "reset_timeout"),
        ({"reset_timeout": True}, "reset_timeout"),
        ({"speed": 3}, "speed: unknown key"),
        ({"name": "other"}, "name: unknown key"),
        ({"failure": "Exception"}, "failure: is set by code"),
        ({"backoff": {"factor": 0.5}}, "backoff"),
        ({"trip": {"kind": "Luck"}}, "trip.kind"),
        ({"max_failures": 3, "reason": "two\nlines"}, "reason"),
        ({"max_failures": 3, "reason": "x" * 201}, "reason"),
    ],
)
@pytest.mark.parametrize("name", ["auth-service-http", "auth-database"])
async def test_a_bad_policy_names_the_field(
    tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:
    """400, and nothing has changed."""
    async with school(tmp_path) as stack:
        answer = await stack.ask("PUT", f"/admin/breakers/{name}/policy", json=change)
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
        assert said in answer.json()["message"]
        panel = stack.gateway.panel if name in stack.gateway.panel else stack.panels["auth"]
        assert (panel[name].config.max_failures, panel[name].config.reset_timeout) == (5, 60)


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
    async with school(tmp_path) as stack:
        answer = await stack.ask(method, f"/admin/breakers/{path}", json={})
        assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
        said = answer.json()["message"]
        assert ("'nobody'" if "nobody" in path else "'explode'; one of: trip, reset") in said


async def test_the_file_is_read_again_everywhere(tmp_path: Path) -> None:
    """Each process says what changed; one that is away says that."""
    async with school(tmp_path) as stack:
        await stack.post("reload")
        stack.policies.write_text(
            "[breakers.auth-database]\nreset_timeout = 70\n[breakers.auth-service-http]\nmax_failures = 4\n"
        )
        stack.lines["student"].app = None
        answer = await stack.ask("POST", "/admin/breakers/reload", json={"reason": "agreed on Monday"})
        assert answer.json()["message"] == "The policies are read again, but not by student-service"
        assert answer.json()["data"] == {
            "api-gateway": ["auth-service-http"],
            "auth-service": ["auth-database"],
            "school-service": [],
            "student-service": {"error": "student-service doesn't answer"},
        }
        assert stack.gateway.panel["auth-service-http"].config.max_failures == 4
        kept = stack.panels["auth"]["auth-database"].config
        assert (kept.reset_timeout, kept.failure) == (70, never)


async def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    """400 with file, key and reason."""
    async with school(tmp_path) as stack:
        stack.policies.write_text("[breakers.auth-service-http]\nmax_failures = 4\n[breakers.x]\n")
        answer = await stack.ask("POST", "/admin/breakers/reload", json={"reason": "try"})
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
        assert "breakers.toml: breakers.x: unknown breaker" in answer.json()["message"]
        assert stack.gateway.panel["auth-service-http"].config.max_failures == 5
