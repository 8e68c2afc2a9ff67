"""The admin API for all breakers: the gateway's own here, those of a service through the service.

A request to a service bypasses its HTTP breaker: it is most wanted while that breaker is open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.upstream.fetch import fetch_json, for_each_service
from gateway.upstream.upstream import Upstream
from protocols.http import REQUEST_ID, Code
from runtime.admin.history import Report
from runtime.admin.service import AdminCommand, BreakerAdmin, check_expiry, known_action
from runtime.web.errors import ApiError

FETCH_SECONDS = 5.0
"""Seconds that a service has to answer."""


class FederatedBreakerAdmin:
    """Administers every breaker of the stack. own: administers the gateway's."""

    def __init__(self, own: BreakerAdmin, upstreams: Mapping[str, Upstream]) -> None:
        self._own = own
        self._upstreams = list(upstreams.values())

    async def show(self, command: AdminCommand) -> list[Report]:
        """Every breaker. If a service doesn't answer, the state of its breakers is None; `error` is why."""

        async def fetch(upstream: Upstream) -> list[Report]:
            try:
                reports: list[Report] = await _send(upstream, command, "GET", "")
            except ApiError as error:
                return [
                    {"name": name, "owner": upstream.service.process, "state": None, "error": error.message}
                    for name in upstream.service.dependencies
                ]
            return reports

        by_service = await for_each_service(self._upstreams, fetch)
        own = await self._own.show(command)
        return own + [report for reports in by_service.values() for report in reports]

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """One breaker, with its recent history."""
        if (upstream := self._owner(name)) is None:
            return await self._own.show_one(name, command)
        report: Report = await _send(upstream, command, "GET", f"/{name}")
        return report

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS in the process that owns the breaker."""
        if (upstream := self._owner(name)) is None:
            return await self._own.steer(name, action, command)
        known_action(action)  # it becomes part of a URL
        check_expiry(action, command.lasts)
        body = _body(command)
        report: Report = await _send(upstream, command, "POST", f"/{name}/{action}", body)
        return report

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change keys of a policy in the process that owns the breaker."""
        if (upstream := self._owner(name)) is None:
            return await self._own.change(name, table, command)
        body = {**table, **_body(command)}
        report: Report = await _send(upstream, command, "PUT", f"/{name}/policy", body)
        return report

    async def reload(self, command: AdminCommand) -> dict[str, Any]:
        """Have every process read breakers.toml again, the gateway first; return the results by process.

        If the gateway's file is invalid, raises ApiError and changes nothing anywhere. The result of a
        service whose file is invalid, or that doesn't answer, is {"error": …}.
        """
        results: dict[str, Any] = dict(await self._own.reload(command))

        async def reload_service(upstream: Upstream) -> dict[str, Any]:
            try:
                result: dict[str, Any] = await _send(upstream, command, "POST", "/reload", _body(command))
            except ApiError as error:
                return {upstream.service.process: {"error": error.message}}
            return result

        for result in (await for_each_service(self._upstreams, reload_service)).values():
            results.update(result)
        return results

    def _owner(self, name: str) -> Upstream | None:
        """The service that owns the breaker; None if it is the gateway's, or unknown."""
        return next((one for one in self._upstreams if name in one.service.dependencies), None)


async def _send(
    upstream: Upstream, command: AdminCommand, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """Send a command to a service; return the `data` of its answer.

    Raises ApiError: the service's own, or 502 if it doesn't answer within FETCH_SECONDS.
    """
    reply = await fetch_json(
        upstream,
        f"/admin/breakers{path}",
        method=method,
        headers={"Authorization": command.authorization, REQUEST_ID: command.request_id},
        content=None if body is None else _encoded(body),
        timeout=FETCH_SECONDS,
    )
    found = reply.document
    if not isinstance(found, dict):
        message = f"{upstream.service.process} doesn't answer"
        if reply.timed_out and method != "GET":
            message += "; it may still carry this out"
        raise ApiError(Code.SERVICE_UNAVAILABLE, message, status=502)
    if "error" in found:
        raise ApiError(_code(found["error"]), str(found.get("message")), status=reply.status)
    return found.get("data")


def _body(command: AdminCommand) -> dict[str, Any]:
    return {"reason": command.reason} | ({} if command.lasts is None else {"for": command.lasts})


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except ValueError:
        raise ApiError(Code.VALIDATION_ERROR, "a number is too large") from None


def _code(text: Any) -> Code:
    try:
        return Code(text)
    except ValueError:
        return Code.INTERNAL_ERROR
