"""Operators' commands as JSON: what is in force, what was ordered, and what has become of a command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runtime.config.process_policies import Reload
from runtime.observability.redaction import redact
from runtime.sharing.commands.command import Command
from runtime.sharing.commands.in_force import NEVER
from runtime.sharing.commands.outcome import CommandOutcome
from runtime.sharing.commands.shared_commands import SharedCommands

HERE_ONLY = (
    "The shared store doesn't answer: this is applied by this instance only, and handed on when the store is"
    " back, unless there is a newer command"
)


def breaker_commands(commands: SharedCommands, name: str, unix_now: float) -> list[dict[str, Any]]:
    """The commands in force for a breaker: its hold, and the changes of its policy, oldest first.

    unix_now: the time now; `until` is told by it.
    """
    now = commands.now()
    held = commands.in_force.holds(now).get(name)
    found = [] if held is None else [held.command]
    found += commands.in_force.changes(now).get(name, ())
    return [_view(one, unix_now, commands.in_force.until(one) - now) for one in found]


def command_history(commands: SharedCommands, name: str) -> list[dict[str, Any]]:
    """The last commands for a breaker, and the last reloads, oldest first."""
    return [
        _view(one, one.unix_time, NEVER if one.lasts is None else one.lasts)
        for one in commands.history
        if one.breaker in (name, "")
    ]


def public_orders(commands: SharedCommands, reloads: Sequence[Reload]) -> list[dict[str, Any]]:
    """What operators have ordered lately, oldest first, for readers without a token: never who ordered it.

    A hold or a change in force is there however old it is, with `in_force`. reloads: those that changed
    something; the others are left out.
    """
    now = commands.now()
    holds = [entry.command for entry in commands.in_force.holds(now).values()]
    changes = [one for some in commands.in_force.changes(now).values() for one in some]
    in_force = {one.id for one in (*holds, *changes)}
    by_id = {one.id: one for one in (*holds, *changes, *commands.history)}
    orders = [_public(one, one.id in in_force) for one in by_id.values() if one.do != "reload"]
    orders += _public_reloads(by_id, reloads)
    return sorted(orders, key=lambda order: order["time"])


def _public_reloads(by_id: dict[str, Command], reloads: Iterable[Reload]) -> list[dict[str, Any]]:
    found = []
    for one in reloads:
        command = by_id.get(one.command_id)
        known = {"reason": "", "by_signal": True} if command is None else _public(command, False)
        own = {"id": one.command_id or f"signal-{one.time}", "action": "reload", "time": one.time}
        found.append({**known, **own, "breaker": "", "breakers": list(one.breakers), "in_force": False})
    return found


def _public(command: Command, in_force: bool) -> dict[str, Any]:
    view = _view(command, command.unix_time, NEVER if command.lasts is None else command.lasts)
    del view["who"]
    return {**view, "reason": redact(command.reason), "breaker": command.breaker, "in_force": in_force}


def _view(command: Command, start: float, remaining: float) -> dict[str, Any]:
    """until: Unix seconds, by this process's clock; None if it doesn't expire."""
    return {
        "id": command.id,
        "action": command.do,
        "who": command.who,
        "reason": command.reason,
        "time": command.unix_time,
        "until": None if remaining == NEVER else round(start + remaining, 1),
        **({"changes": dict(command.changes)} if command.changes else {}),
    }


def outcome_view(outcome: CommandOutcome) -> dict[str, Any]:
    """What an answer says of the instances that have applied a command; nothing if none is shared."""
    if outcome.shared is None:
        return {}
    if not outcome.shared:
        return {"shared": False, "note": HERE_ONLY}
    view: dict[str, Any] = {"applied_by": list(outcome.applied_by), "not_yet": list(outcome.not_yet)}
    return {**view, "failed": dict(outcome.failed)} if outcome.failed else view
