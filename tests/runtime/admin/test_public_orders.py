"""Operators' orders in reports without a token: they never contain the operator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors import CircuitBreakerConfig, Panel, open_panel
from runtime.admin.history import Recorder, merge_orders
from runtime.admin.panel_target import PanelTarget
from runtime.admin.service import AdminCommand, LocalBreakerAdmin
from runtime.config.process_policies import ProcessPolicies
from runtime.sharing.commands.applied import HISTORY
from runtime.sharing.commands.shared_commands import SharedCommands

NAME = "auth-database"
FILE = f"[breakers.{NAME}]\nreset_timeout = 60\n"


class Process:
    """The admin API of one process, and the report that needs no token."""

    def __init__(self, panel: Panel, path: Path) -> None:
        self.path = path
        self.policies = ProcessPolicies(panel, path, None)
        self.recorder = Recorder("auth-service", panel)
        commands = SharedCommands(PanelTarget(panel, self.policies))
        self.admin = LocalBreakerAdmin(panel, self.recorder, self.policies, commands)

    async def orders(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.recorder.recent())["orders"]
        return found


def command(reason: str = "to see", lasts: float | None = None) -> AdminCommand:
    return AdminCommand("u-17", reason, "Bearer hush", "request-1", lasts)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    path = tmp_path / "breakers.toml"
    path.write_text(FILE)
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name=NAME, max_failures=5, reset_timeout=60))
        yield Process(panel, path)


async def test_an_order_has_action_reason_and_end_but_no_author(process: Process) -> None:
    await process.admin.steer(NAME, "force_open", command(lasts=600))
    await process.admin.change(NAME, {"max_failures": 7}, command("a slow failover"))
    held, changed = await process.orders()
    assert held["until"] - held["time"] == pytest.approx(600, abs=0.1)
    assert {
        "action": "force_open",
        "breaker": NAME,
        "reason": "to see",
        "in_force": True,
    }.items() <= held.items()
    expected = {
        "action": "configure",
        "changes": {"max_failures": 7},
        "reason": "a slow failover",
        "until": None,
    }
    assert expected.items() <= changed.items()
    told = json.dumps(await process.recorder.recent())
    assert not [secret for secret in ("u-17", "request-1", "hush") if secret in told]
    assert (await process.admin.show_one(NAME, command()))["commands"][0]["who"] == "u-17"


async def test_a_reason_is_redacted(process: Process) -> None:
    await process.admin.steer(NAME, "trip", command("ada@example.org asked for it"))
    [order] = await process.orders()
    assert order["reason"] == "*** asked for it"


async def test_a_hold_in_force_is_reported_at_any_age(process: Process) -> None:
    await process.admin.steer(NAME, "disable", command("an old story"))
    for _ in range(HISTORY):
        await process.admin.change(NAME, {"max_failures": 7}, command())
    orders = await process.orders()
    assert (orders[0]["reason"], orders[0]["in_force"]) == ("an old story", True)
    await process.admin.steer(NAME, "reset", command())
    assert not [one for one in await process.orders() if one["in_force"] and one["action"] == "disable"]


async def test_a_reload_is_reported_with_its_changes_if_there_are_any(process: Process) -> None:
    """The reload may be by a command or by a signal."""
    await process.admin.reload(command())
    first = await process.orders()
    assert [(one["action"], one["breakers"]) for one in first] in ([], [("reload", [NAME])])
    await process.admin.reload(command("nothing new"))
    assert await process.orders() == first
    process.path.write_text(f"{FILE}max_failures = 77\n")
    await process.admin.reload(command("a new policy"))
    by_command = (await process.orders())[-1]
    assert {
        "action": "reload",
        "reason": "a new policy",
        "breakers": [NAME],
        "breaker": "",
    }.items() <= by_command.items()
    assert not {"who", "by_signal"} & by_command.keys()
    process.path.write_text(FILE)
    await process.policies.reload()
    by_signal = (await process.orders())[-1]
    assert {
        "action": "reload",
        "reason": "",
        "breakers": [NAME],
        "by_signal": True,
    }.items() <= by_signal.items()
    assert by_signal["id"] != by_command["id"]


def test_orders_that_a_process_has_forgotten_stay_but_are_not_in_force() -> None:
    old = [{"id": "a", "time": 1, "in_force": True}, {"id": "b", "time": 2, "in_force": True}]
    new = [{"id": "b", "time": 2, "in_force": True}, {"id": "c", "time": 3, "in_force": False}]
    assert [(one["id"], one["in_force"]) for one in merge_orders(old, new)] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert len(merge_orders([{"id": str(n), "time": n} for n in range(150)], [])) == 100
