"""Operators' commands to the breakers of one process: trip, reset, hold, change a policy, reload policies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from protocols.http import Code
from runtime.admin.history import PAST, Recorder, Report
from runtime.config.policies import BadConfiguration
from runtime.config.policy_reader import changed_policy
from runtime.config.reload import reload_policies
from runtime.config.settings import ProcessSettings
from runtime.web.errors import ApiError

log = structlog.get_logger("admin")

Reload = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """Who gives a command, and why.

    who: a user id or "ADMIN_TOKEN". reason: one line, empty if none was given. authorization: the field that
    the command came with. request_id: of the request that gave it.
    """

    who: str
    reason: str
    authorization: str
    request_id: str


class BreakerAdmin(Protocol):
    """Carries out admins' commands. An unknown breaker or action raises ApiError NOT_FOUND."""

    async def show(self, command: AdminCommand) -> list[Report]:
        """Return all breakers, without their recent past."""

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """Return one breaker with its recent past."""

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS and return the breaker as it is then."""

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change some keys of a policy and return the breaker. Raises ApiError VALIDATION_ERROR."""

    async def reload(self, command: AdminCommand) -> Any:
        """Read breakers.toml again and return which breakers changed, by process.

        Raises ApiError VALIDATION_ERROR for an unusable file, which changes nothing.
        """


Action = tuple[Callable[[CircuitBreaker, str], Awaitable[None]], str]
ACTIONS: Mapping[str, Action] = {
    "trip": (CircuitBreaker.trip, "tripped by operator"),
    "reset": (CircuitBreaker.reset, "reset by operator"),
    "force_open": (CircuitBreaker.force_open, "forced by operator"),
    "disable": (CircuitBreaker.disable, "disabled by operator"),
    "observe": (CircuitBreaker.observe, "observed by operator"),
}
"""By its name in the URL: the method that an action calls, and the reason that the transition gets."""


class LocalBreakerAdmin:
    """A BreakerAdmin for the breakers of one panel."""

    def __init__(self, panel: Panel, recorder: Recorder, reload: Reload) -> None:
        self._panel = panel
        self._recorder = recorder
        self._reload = reload

    def __contains__(self, name: str) -> bool:
        return name in self._panel

    async def show(self, command: AdminCommand) -> list[Report]:
        """Return all breakers of this process, without their recent past."""
        report = await self._recorder.recent()
        return [_owned(report, without_past(one)) for one in report["breakers"]]

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """Return one breaker with its recent past. Raises ApiError NOT_FOUND."""
        return await self._view(self._find(name))

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS, log who did it and why, and return the breaker. Raises ApiError NOT_FOUND."""
        await self.act(name, action, command)
        return await self._view(self._find(name))

    async def act(self, name: str, action: str, command: AdminCommand) -> None:
        """Do what `steer` does, without looking at the breaker afterwards."""
        breaker, (act, default) = self._find(name), self.action(name, action)
        _log(f"{action} by an operator", command, breaker=name, action=action)
        await act(breaker, f"{default}: {command.reason}" if command.reason else default)

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change some keys of a policy, log who did it and why, and return the breaker. Raises ApiError."""
        await self.configure(name, table, command)
        return await self._view(self._find(name))

    async def configure(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> None:
        """Do what `change` does, without looking at the breaker afterwards."""
        breaker, config = self._find(name), self.changed(name, table)
        _log("policy changed by an operator", command, breaker=name, action="configure", changes=dict(table))
        await breaker.configure(config)

    async def reload(self, command: AdminCommand) -> Any:
        """Read breakers.toml again, and log who did it and why. Raises ApiError VALIDATION_ERROR."""
        try:
            changed = await self._reload()
        except BadConfiguration as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        _log("breakers.toml read again by an operator", command, action="reload")
        return {self._recorder.process: changed}

    def action(self, name: str, action: str) -> Action:
        """Return one of ACTIONS. Raises ApiError NOT_FOUND for an unknown breaker or action."""
        self._find(name)
        return known_action(action)

    def changed(self, name: str, table: Mapping[str, Any]) -> CircuitBreakerConfig:
        """Return the policy that `change` would set. Raises ApiError NOT_FOUND or VALIDATION_ERROR."""
        try:
            return changed_policy(self._find(name).config, table)
        except ValueError as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error

    def _find(self, name: str) -> CircuitBreaker:
        if name not in self._panel:
            raise ApiError(Code.NOT_FOUND, f"no breaker is called {name!r}")
        return self._panel[name]

    async def _view(self, breaker: CircuitBreaker) -> Report:
        report = await self._recorder.recent(only=breaker.name)
        return _owned(report, report["breakers"][0])


def local_breaker_admin(
    panel: Panel, recorder: Recorder, settings: ProcessSettings, policies: Path | None = None
) -> LocalBreakerAdmin:
    """Return the admin of a panel. policies: the file that `reload` reads; None: the settings' file."""
    reload = partial(
        reload_policies, panel, policies or settings.circuit_breakers, settings.circuit_breaker_profile
    )
    return LocalBreakerAdmin(panel, recorder, reload)


def known_action(action: str) -> Action:
    """Return one of ACTIONS. Raises ApiError NOT_FOUND."""
    if action not in ACTIONS:
        raise ApiError(Code.NOT_FOUND, f"no action is called {action!r}; one of: {', '.join(ACTIONS)}")
    return ACTIONS[action]


def without_past(breaker: Report) -> Report:
    """Return a breaker's report without its recent past, for a list of breakers."""
    return {key: value for key, value in breaker.items() if key not in PAST}


def _owned(report: Report, breaker: Report) -> Report:
    return {**breaker, "owner": report["process"]}


def _log(event: str, command: AdminCommand, **more: Any) -> None:
    # The log context may hold another request's id: a worker also carries out commands given to another one.
    more["request_id"] = command.request_id
    log.warning(event, who=command.who, reason=command.reason or "none given", **more)
