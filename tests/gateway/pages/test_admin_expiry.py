"""`for`: commands that expire, on the gateway's breakers and on those of the services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from actors import State
from tests.gateway.pages.admin_stack import AdminStack, open_admin_stack

NAMES = ["auth-service-http", "auth-database"]


def breaker(stack: AdminStack, name: str) -> Any:
    return (stack.gateway.panel if name in stack.gateway.panel else stack.panels["auth"])[name]


@pytest.mark.parametrize(
    "sent", ["0", "-1", "true", '"600"', "1e400", "1e9", "31536001", "9" * 400, "[]", "{}"]
)
@pytest.mark.parametrize("name", NAMES)
async def test_an_unusable_duration_is_400_and_changes_nothing(tmp_path: Path, name: str, sent: str) -> None:
    async with open_admin_stack(tmp_path) as stack:
        for method, path, more in (("POST", "force_open", ""), ("PUT", "policy", '"max_failures": 3, ')):
            body = f'{{{more}"for": {sent}}}'.encode()
            answer = await stack.ask(method, f"/admin/breakers/{name}/{path}", content=body)
            assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
            assert answer.json()["message"].startswith("for: should be seconds, more than 0")
        assert (breaker(stack, name).state, breaker(stack, name).config.max_failures) == (State.CLOSED, 5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("path", ["trip", "reset", "reload"])
async def test_a_command_that_does_not_last_takes_no_duration(tmp_path: Path, name: str, path: str) -> None:
    async with open_admin_stack(tmp_path) as stack:
        whole = "reload" if path == "reload" else f"{name}/{path}"
        answer = await stack.ask("POST", f"/admin/breakers/{whole}", json={"for": 60})
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
        assert answer.json()["message"].startswith(f"for: a {path} takes no time")
        assert breaker(stack, name).state is State.CLOSED


@pytest.mark.parametrize("name", NAMES)
async def test_a_hold_expires(tmp_path: Path, name: str, autojump_clock: MockClock) -> None:
    """Without a shared store. The transition has the reason; the report has the operator and the expiry."""
    async with open_admin_stack(tmp_path) as stack:
        with structlog.testing.capture_logs() as lines:
            answer = await stack.ask(
                "POST", f"/admin/breakers/{name}/disable", json={"reason": "a test", "for": 600}
            )
            seen = answer.json()["data"]
            await trio.sleep(599)
            assert breaker(stack, name).state is State.DISABLED
            await trio.sleep(2)
        assert breaker(stack, name).state is State.CLOSED
        assert (await breaker(stack, name).snapshot()).last_reason == "disabled by operator expired"
        [held] = seen["in_force"]
        assert (held["action"], held["who"], held["reason"]) == ("disable", "ADMIN_TOKEN", "a test")
        assert 595 < held["until"] - held["time"] <= 601
        assert "applied_by" not in seen
        told = [
            (one["action"], one["who"], one["expires_after"]) for one in lines if one.get("expires_after")
        ]
        assert told == [("disable", "ADMIN_TOKEN", 600), ("reset", "ADMIN_TOKEN", 600)]
        after = (await stack.ask("GET", f"/admin/breakers/{name}")).json()["data"]
        assert (after["in_force"], [one["action"] for one in after["commands"]]) == ([], ["disable"])


@pytest.mark.parametrize("name", NAMES)
async def test_a_policy_change_expires_to_the_files_policy(
    tmp_path: Path, name: str, autojump_clock: MockClock
) -> None:
    """Other changes of the policy stay, and so does the state."""
    async with open_admin_stack(tmp_path) as stack:
        path = f"/admin/breakers/{name}/policy"
        await stack.ask("PUT", path, json={"reset_timeout": 7})
        await stack.ask("PUT", path, json={"max_failures": 2, "for": 60})
        await breaker(stack, name).trip()
        assert breaker(stack, name).config.max_failures == 2
        await trio.sleep(61)
        found = breaker(stack, name).config
        assert (found.max_failures, found.reset_timeout) == (5, 7)


async def test_a_null_duration_is_none(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("POST", "/admin/breakers/auth-database/observe", json={"for": None})
        assert answer.json()["data"]["in_force"][0]["until"] is None
