"""What operators' commands do to the breakers of one panel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from actors import CircuitBreaker, Panel
from runtime.config.process_policies import Changes, ProcessPolicies
from runtime.sharing.commands.command import Command

Action = tuple[Callable[[CircuitBreaker, str], Awaitable[None]], str]
ACTIONS: Mapping[str, Action] = {
    "trip": (CircuitBreaker.trip, "tripped by operator"),
    "reset": (CircuitBreaker.reset, "reset by operator"),
    "force_open": (CircuitBreaker.force_open, "forced by operator"),
    "disable": (CircuitBreaker.disable, "disabled by operator"),
    "observe": (CircuitBreaker.observe, "observed by operator"),
}
"""By its name in the URL: the method that an action calls, and the reason that the transition gets."""

log = structlog.get_logger("admin")


class PanelTarget:
    """Applies commands to a panel's breakers and their policies, and logs who gave them and why."""

    def __init__(self, panel: Panel, policies: ProcessPolicies) -> None:
        self._panel = panel
        self._policies = policies

    async def act(self, command: Command) -> None:
        """Trip, reset or hold a breaker. Raises KeyError if this panel doesn't have it."""
        act, default = ACTIONS[command.do]
        breaker = self._panel[command.breaker]
        _log(f"{command.do} by an operator", command, action=command.do)
        await act(breaker, f"{default}: {command.reason}" if command.reason else default)

    async def end(self, command: Command, reason: str) -> None:
        """Reset a breaker that `command` holds."""
        said = f"{ACTIONS[command.do][1]} {reason}"
        _log(f"{command.do} {reason}", command, action="reset")
        await self._panel[command.breaker].reset(said)

    async def change(self, changes: Mapping[str, Sequence[Command]], command: Command | None = None) -> None:
        """Make these the only changes of policies. Raises ValueError if `command` can't be used here."""
        if command is not None:
            table = dict(command.changes)
            _log("policy changed by an operator", command, action="configure", changes=table)
        else:
            log.warning("changes of policies are not what they were", in_force=_ids(changes))
        unusable = await self._policies.change(_tables(changes))
        if command is not None and command.id in unusable:
            raise ValueError("the change can't be used with this process's policy")

    async def reload(self, command: Command, changes: Mapping[str, Sequence[Command]]) -> Any:
        """Read breakers.toml again, with these changes alone. Raises BadConfiguration."""
        changed = await self._policies.reload(_tables(changes), command_id=command.id)
        _log("breakers.toml read again by an operator", command, action="reload")
        return changed


def _tables(changes: Mapping[str, Sequence[Command]]) -> Changes:
    return {name: [(one.id, one.changes) for one in commands] for name, commands in changes.items()}


def _ids(changes: Mapping[str, Sequence[Command]]) -> dict[str, list[str]]:
    return {name: sorted({key for one in some for key in one.changes}) for name, some in changes.items()}


def _log(event: str, command: Command, **more: Any) -> None:
    # The log context may hold another request's id: an instance also carries out commands given to others.
    more["request_id"] = command.request_id
    if command.breaker:
        more["breaker"] = command.breaker
    if command.lasts is not None:
        more["expires_after"] = command.lasts
    log.warning(event, who=command.who, reason=command.reason or "none given", **more)
