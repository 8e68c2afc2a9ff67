"""The admin API changes policies, one by one or from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors import FailureRate, State
from tests.gateway.pages.admin_stack import never, open_admin_stack


@pytest.mark.parametrize("breaker", ["auth-database", "auth-service-http"])
@pytest.mark.parametrize("number", ["1e400", "1" + "0" * 400])
async def test_a_number_beyond_float_is_refused(tmp_path: Path, breaker: str, number: str) -> None:
    async with open_admin_stack(tmp_path) as stack:
        sent = f'{{"reset_timeout": {number}}}'.encode()
        answer = await stack.ask("PUT", f"/admin/breakers/{breaker}/policy", content=sent)
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("name", ["auth-service-http", "auth-database"])
async def test_a_policy_change_keeps_the_other_fields_and_the_state(tmp_path: Path, name: str) -> None:
    async with open_admin_stack(tmp_path) as stack:
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
async def test_an_invalid_policy_is_400_with_the_field_and_changes_nothing(
    tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:
    async with open_admin_stack(tmp_path) as stack:
        answer = await stack.ask("PUT", f"/admin/breakers/{name}/policy", json=change)
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
        assert said in answer.json()["message"]
        panel = stack.gateway.panel if name in stack.gateway.panel else stack.panels["auth"]
        assert (panel[name].config.max_failures, panel[name].config.reset_timeout) == (5, 60)


async def test_reload_rereads_the_file_in_every_process(tmp_path: Path) -> None:
    """The response has the changed breakers of each process, or its error."""
    async with open_admin_stack(tmp_path) as stack:
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


async def test_an_invalid_file_is_400_and_changes_nothing(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        stack.policies.write_text("[breakers.auth-service-http]\nmax_failures = 4\n[breakers.x]\n")
        answer = await stack.ask("POST", "/admin/breakers/reload", json={"reason": "try"})
        assert (answer.status_code, answer.json()["error"]) == (400, "VALIDATION_ERROR")
        assert "breakers.toml: breakers.x: unknown breaker" in answer.json()["message"]
        assert stack.gateway.panel["auth-service-http"].config.max_failures == 5
