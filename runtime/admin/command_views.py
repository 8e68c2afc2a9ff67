"""Operators' commands as JSON: what is in force, what was ordered, and what has become of a command."""

from __future__ import annotations

from typing import Any

from runtime.sharing.commands.command import Command
from runtime.sharing.commands.in_force import NEVER
from runtime.sharing.commands.shared_commands import Outcome, SharedCommands

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


def outcome_view(outcome: Outcome) -> dict[str, Any]:
    """What an answer says of the instances that have applied a command; nothing if none is shared."""
    if outcome.shared is None:
        return {}
    if not outcome.shared:
        return {"shared": False, "note": HERE_ONLY}
    view: dict[str, Any] = {"applied_by": list(outcome.applied_by), "not_yet": list(outcome.not_yet)}
    return {**view, "failed": dict(outcome.failed)} if outcome.failed else view
