"""Operators' commands to the breakers of one process, and of all others like it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actors import CircuitBreaker, Panel
from protocols.http import Code
from runtime.admin.command_views import breaker_commands, command_history, outcome_view, public_orders
from runtime.admin.history import PAST, Recorder, Report
from runtime.admin.panel_target import ACTIONS, PanelTarget
from runtime.config.policies import BadConfiguration
from runtime.config.policy_reader import changed_policy
from runtime.config.process_policies import ProcessPolicies
from runtime.config.settings import ProcessSettings
from runtime.sharing.commands.command import LASTING, Command
from runtime.sharing.commands.outcome import CommandOutcome
from runtime.sharing.commands.shared_commands import SharedCommands
from runtime.sharing.process import ProcessSharing
from runtime.web.errors import ApiError


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """The author of a command and the reason for it.

    who: a user id or "ADMIN_TOKEN". reason: one line, empty if none was given. authorization: the field that
    the command came with. request_id: of the request that gave it. lasts: seconds until the command expires;
    None: it doesn't.
    """

    who: str
    reason: str
    authorization: str
    request_id: str
    lasts: float | None = None


class BreakerAdmin(Protocol):
    """Carries out admins' commands. An unknown breaker or action raises ApiError NOT_FOUND."""

    async def show(self, command: AdminCommand) -> list[Report]:
        """Return all breakers, without their recent past."""

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """Return one breaker with its recent past."""

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS and return the breaker as it is then, with the instances that have applied it."""

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change some keys of a policy and return the breaker. Raises ApiError VALIDATION_ERROR."""

    async def reload(self, command: AdminCommand) -> Any:
        """Read breakers.toml again, lift changes of policies, and return which breakers changed, by process.

        Raises ApiError VALIDATION_ERROR for an unusable file, which changes nothing.
        """


class LocalBreakerAdmin:
    """A BreakerAdmin for the breakers of one panel, and through `commands` for those of other instances."""

    def __init__(
        self, panel: Panel, recorder: Recorder, policies: ProcessPolicies, commands: SharedCommands
    ) -> None:
        self._panel = panel
        self._recorder = recorder
        self.policies = policies
        self.commands = commands
        recorder.orders = lambda: public_orders(commands, policies.reloads)

    def __contains__(self, name: str) -> bool:
        return name in self._panel

    async def show(self, command: AdminCommand) -> list[Report]:
        """Return all breakers of this process, without their recent past."""
        report = await self._recorder.recent()
        return [self._owned(report, without_past(one)) for one in report["breakers"]]

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """Return one breaker with its recent past. Raises ApiError NOT_FOUND."""
        return await self._view(self._find(name))

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS, log who did it and why, and return the breaker.

        Raises ApiError NOT_FOUND, or VALIDATION_ERROR for a trip or reset that is to expire.
        """
        self._find(name)
        known_action(action)
        outcome = await self._give(command, action, name)
        return await self._view(self._find(name)) | outcome_view(outcome)

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change some keys of a policy, log who did it and why, and return the breaker. Raises ApiError."""
        breaker = self._find(name)
        try:
            changed_policy(breaker.config, table)
            outcome = await self._give(command, "configure", name, table)
        except ValueError as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        return await self._view(breaker) | outcome_view(outcome)

    async def reload(self, command: AdminCommand) -> Any:
        """Read breakers.toml again, lift changes of policies, and log who did it and why.

        Returns which breakers changed, by process; with "error" if some instances have not done so. Raises
        ApiError VALIDATION_ERROR, and has changed nothing anywhere then.
        """
        try:
            await self.policies.check()
            outcome = await self._give(command, "reload")
        except BadConfiguration as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        return {self._recorder.process: _reload_view(outcome)}

    async def _give(
        self, given: AdminCommand, do: str, name: str = "", changes: Mapping[str, Any] | None = None
    ) -> CommandOutcome:
        check_expiry(do, given.lasts)
        command = Command(
            id=uuid.uuid4().hex,
            do=do,
            breaker=name,
            who=given.who,
            reason=given.reason,
            request_id=given.request_id,
            lasts=given.lasts,
            changes=dict(changes or {}),
            unix_time=time.time(),
        )
        return await self.commands.give(command)

    def _find(self, name: str) -> CircuitBreaker:
        if name not in self._panel:
            raise ApiError(Code.NOT_FOUND, f"no breaker is called {name!r}")
        return self._panel[name]

    async def _view(self, breaker: CircuitBreaker) -> Report:
        report = await self._recorder.recent(only=breaker.name)
        history = command_history(self.commands, breaker.name)
        return self._owned(report, report["breakers"][0]) | {"commands": history}

    def _owned(self, report: Report, breaker: Report) -> Report:
        in_force = breaker_commands(self.commands, breaker["name"], report["now"])
        return {**breaker, "owner": report["process"], "in_force": in_force}


def local_breaker_admin(
    panel: Panel,
    recorder: Recorder,
    settings: ProcessSettings,
    sharing: ProcessSharing | None = None,
    *,
    path: Path | None = None,
) -> LocalBreakerAdmin:
    """Return the admin of a panel. The caller starts `commands.run`.

    sharing: None: commands are for this process alone. path: of breakers.toml; None: the settings'.
    """
    policies = ProcessPolicies(panel, path or settings.circuit_breakers, settings.circuit_breaker_profile)
    target = PanelTarget(panel, policies)
    if sharing is None:
        commands = SharedCommands(target)
    else:
        commands = SharedCommands(target, sharing.instance, sharing.commands, sharing.breakers.override)
    return LocalBreakerAdmin(panel, recorder, policies, commands)


def known_action(action: str) -> None:
    """Raise ApiError NOT_FOUND unless it is one of ACTIONS."""
    if action not in ACTIONS:
        raise ApiError(Code.NOT_FOUND, f"no action is called {action!r}; one of: {', '.join(ACTIONS)}")


def check_expiry(do: str, lasts: float | None) -> None:
    """Raise ApiError VALIDATION_ERROR if this command can't expire, and is to."""
    if lasts is not None and do not in LASTING:
        allowed = ", ".join(sorted(LASTING - {"configure"}))
        reason = f"a {do} takes no time; only {allowed} and a change of policy do"
        raise ApiError(Code.VALIDATION_ERROR, f"for: {reason}")


def without_past(breaker: Report) -> Report:
    """Return a breaker's report without its recent past, for a list of breakers."""
    return {key: value for key, value in breaker.items() if key not in PAST}


def _reload_view(outcome: CommandOutcome) -> Any:
    """The changed breakers; if commands are shared, also who has read the file, and what went wrong."""
    if outcome.shared is None:
        return outcome.result
    view = {"changed": outcome.result, **outcome_view(outcome)}
    problems = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
    if outcome.not_yet:
        problems.append(f"not yet by {', '.join(outcome.not_yet)}")
    return {**view, "error": "; ".join(problems)} if problems else view
