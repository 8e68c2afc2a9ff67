"""Steering breakers over HTTP: who may, what they may say, and the routes, the same in every process.

A `BreakerAdmin` carries out the commands: each process has one for its own breakers, the gateway one for all.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import structlog
import trio
from pydantic import AfterValidator, BaseModel, ConfigDict
from quart import g, request
from quart_schema import hide
from quart_trio import QuartTrio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from protocols.http import Code
from runtime.admin.history import PAST, Recorder, Report
from runtime.auth import TokenVerifier, bearer
from runtime.config.breakers import CODE, BadConfiguration, changed_policy, load_breakers
from runtime.config.settings import ProcessSettings
from runtime.web.app import ApiError, read_json, reply

LONGEST_REASON = 200

log = structlog.get_logger("admin")

Reload = Callable[[], Awaitable[Any]]


def _one_line(value: str) -> str:
    if len(value) > LONGEST_REASON or not value.isprintable():
        raise ValueError(f"should be one line of at most {LONGEST_REASON} characters")
    return value.strip()


class CommandBody(BaseModel):
    """The body of an order. reason: for the log and for whoever looks at the breaker later."""

    reason: Annotated[str, AfterValidator(_one_line)] = ""


class Change(CommandBody):
    """The body of a change of policy: its keys are those of a breaker's table in breakers.toml."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """Who wants something and why. authorization: with which they were let in."""

    who: str
    reason: str
    authorization: str
    request_id: str


class BreakerAdmin(Protocol):
    """Carries out what an admin orders. Unknown names raise ApiError NOT_FOUND."""

    async def show(self, order: AdminCommand) -> list[Report]:
        """Every breaker."""

    async def show_one(self, name: str, order: AdminCommand) -> Report:
        """One breaker, with its recent past."""

    async def steer(self, name: str, action: str, order: AdminCommand) -> Report:
        """Do one of ACTIONS; the breaker as it is then."""

    async def change(self, name: str, table: Mapping[str, Any], order: AdminCommand) -> Report:
        """Change keys of its policy in place; the breaker as it is then. ApiError VALIDATION_ERROR."""

    async def reload(self, order: AdminCommand) -> Any:
        """Read breakers.toml again. ApiError VALIDATION_ERROR where it can't be used: nothing has changed."""


class AdminAuthenticator:
    """Who may steer: bearers of an admin's access token, or of ADMIN_TOKEN."""

    def __init__(self, keys: TokenVerifier, admin_token: str | None) -> None:
        self._keys = keys
        self._admin_token = admin_token

    def admit(self, authorization: str | None) -> str:
        """Who it is, for the log. Raises TokenError, and ApiError FORBIDDEN where it's no admin."""
        token = bearer(authorization)
        if self._admin_token is not None and hmac.compare_digest(token.encode(), self._admin_token.encode()):
            return "ADMIN_TOKEN"
        identity = self._keys.verify(token)
        if identity.role != "admin":
            raise ApiError(Code.FORBIDDEN, "only an admin may do this")
        return identity.user_id


Action = tuple[Callable[[CircuitBreaker, str], Awaitable[None]], str]
ACTIONS: Mapping[str, Action] = {
    "trip": (CircuitBreaker.trip, "tripped by operator"),
    "reset": (CircuitBreaker.reset, "reset by operator"),
    "force_open": (CircuitBreaker.force_open, "forced by operator"),
    "disable": (CircuitBreaker.disable, "disabled by operator"),
    "observe": (CircuitBreaker.observe, "observed by operator"),
}
"""What each action calls, and what the log says of it."""


class LocalBreakerAdmin:
    """The desk of one process, for the breakers of its panel."""

    def __init__(self, panel: Panel, recorder: Recorder, reload: Reload) -> None:
        self._panel = panel
        self._recorder = recorder
        self._reload = reload

    def __contains__(self, name: str) -> bool:
        return name in self._panel

    async def show(self, order: AdminCommand) -> list[Report]:
        """Every breaker of this process."""
        report = await self._recorder.recent()
        return [_owned(report, without_past(one)) for one in report["breakers"]]

    async def show_one(self, name: str, order: AdminCommand) -> Report:
        """One breaker, with its recent past."""
        return await self._view(self._find(name))

    async def steer(self, name: str, action: str, order: AdminCommand) -> Report:
        """Do one of ACTIONS, and log who and why; the breaker as it is then."""
        await self.act(name, action, order)
        return await self._view(self._find(name))

    async def act(self, name: str, action: str, order: AdminCommand) -> None:
        """As `steer`, for whoever doesn't want to see it."""
        breaker, (act, default) = self._find(name), self.action(name, action)
        _log(f"{action} by an operator", order, breaker=name, action=action)
        await act(breaker, f"{default}: {order.reason}" if order.reason else default)

    async def change(self, name: str, table: Mapping[str, Any], order: AdminCommand) -> Report:
        """Change keys of its policy in place, and log who and why; the breaker as it is then."""
        await self.configure(name, table, order)
        return await self._view(self._find(name))

    async def configure(self, name: str, table: Mapping[str, Any], order: AdminCommand) -> None:
        """As `change`, for whoever doesn't want to see it."""
        breaker, config = self._find(name), self.changed(name, table)
        _log("policy changed by an operator", order, breaker=name, action="configure", changes=dict(table))
        await breaker.configure(config)

    async def reload(self, order: AdminCommand) -> Any:
        """Read breakers.toml again, and log who and why."""
        try:
            told = await self._reload()
        except BadConfiguration as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        _log("breakers.toml read again by an operator", order, action="reload")
        return {self._recorder.process: told}

    def action(self, name: str, action: str) -> Action:
        """One of ACTIONS. Raises ApiError NOT_FOUND where there is no such breaker or action."""
        self._find(name)
        return known_action(action)

    def changed(self, name: str, table: Mapping[str, Any]) -> CircuitBreakerConfig:
        """What the policy would be. Raises ApiError NOT_FOUND and VALIDATION_ERROR."""
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


def known_action(action: str) -> Action:
    """One of ACTIONS. Raises ApiError NOT_FOUND."""
    if action not in ACTIONS:
        raise ApiError(Code.NOT_FOUND, f"no action is called {action!r}; one of: {', '.join(ACTIONS)}")
    return ACTIONS[action]


def without_past(breaker: Report) -> Report:
    """What a breaker is, for a list."""
    return {key: value for key, value in breaker.items() if key not in PAST}


def _owned(report: Report, breaker: Report) -> Report:
    return {**breaker, "owner": report["process"]}


def _log(event: str, order: AdminCommand, **more: Any) -> None:
    # Its id is told, not left to the context: another worker may have been asked.
    more["request_id"] = order.request_id
    log.warning(event, who=order.who, reason=order.reason or "none given", **more)


async def reload_policies(panel: Panel, path: Path, profile: str | None) -> list[str]:
    """Give the panel's breakers the policies that the file has now; returns the names of those that changed.

    What is code in a policy stays. Raises BadConfiguration, and has changed nothing then.
    """
    policies = await trio.to_thread.run_sync(load_breakers, path, profile)
    changed = []
    for breaker in panel:
        config = breaker.config
        kept = {field: getattr(config, field) for field in CODE}
        # A route's breaker has the policy of its service's, which its name begins with.
        policy = replace(policies[breaker.name.partition(":")[0]], name=breaker.name, **kept)
        if policy != config:
            await breaker.configure(policy)
            changed.append(breaker.name)
    return changed


def add_admin(app: QuartTrio, desk: BreakerAdmin, admins: AdminAuthenticator) -> None:
    """Add /admin/breakers and what is below it. Each answer is for admins alone."""

    def order(reason: str = "") -> AdminCommand:
        given = request.headers.get("Authorization")
        return AdminCommand(admins.admit(given), reason, given or "", g.request_id)

    @app.get("/admin/breakers")
    @hide
    async def show() -> Any:
        return reply("Breakers retrieved successfully", await desk.show(order()))

    @app.get("/admin/breakers/<name>")
    @hide
    async def show_one(name: str) -> Any:
        return reply("Breaker retrieved successfully", await desk.show_one(name, order()))

    @app.post("/admin/breakers/<name>/<action>")
    @hide
    async def steer(name: str, action: str) -> Any:
        order()  # before anything is said about what was sent
        seen = await desk.steer(name, action, order((await _why()).reason))
        return reply(f"{name} is {seen['state']}", seen)

    @app.put("/admin/breakers/<name>/policy")
    @hide
    async def change(name: str) -> Any:
        order()
        body = await read_json(Change)
        seen = await desk.change(name, body.model_extra or {}, order(body.reason))
        return reply(f"The policy of {name} is changed", seen)

    @app.post("/admin/breakers/reload")
    @hide
    async def reload() -> Any:
        order()
        told = await desk.reload(order((await _why()).reason))
        failed = [process for process, said in told.items() if isinstance(said, dict) and "error" in said]
        but = f", but not by {', '.join(failed)}" if failed else ""
        return reply(f"The policies are read again{but}", told)


async def _why() -> CommandBody:
    """The order's body, which may be missing."""
    return await read_json(CommandBody, missing=b"{}")


def operate(
    app: QuartTrio, process: str, panel: Panel, keys: TokenVerifier, settings: ProcessSettings
) -> Recorder:
    """Let a service's breakers be seen and steered. The recorder's `run` is the caller's to start."""
    recorder = Recorder(process, panel)
    add_recent(app, recorder)
    add_admin(app, own_desk(panel, recorder, settings), AdminAuthenticator(keys, settings.admin_token))
    return recorder


def own_desk(
    panel: Panel, recorder: Recorder, settings: ProcessSettings, policies: Path | None = None
) -> LocalBreakerAdmin:
    """The desk for the breakers of a panel whose policies the settings name, or are kept in `policies`."""
    again = partial(
        reload_policies, panel, policies or settings.circuit_breakers, settings.circuit_breaker_profile
    )
    return LocalBreakerAdmin(panel, recorder, again)


def add_recent(app: QuartTrio, recorder: Recorder) -> None:
    """Add GET /breakers?since=…: for the gateway, and open as /health and /metrics are."""

    @app.get("/breakers")
    @hide
    async def recent() -> Any:
        since = _since(request.args.get("since"))
        return reply("Breakers retrieved successfully", await recorder.recent(since))


def _since(text: str | None) -> float:
    try:
        since = float(text or 0)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise ApiError(Code.VALIDATION_ERROR, "since: should be Unix seconds")
    return since
