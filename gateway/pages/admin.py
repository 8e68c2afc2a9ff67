"""The admin API for all breakers: the gateway's own here, each service's through the service itself.

Asking a service passes its HTTP breaker by: it is most wanted while that is open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import trio

from gateway.upstream.upstream import Upstream
from protocols.http import REQUEST_ID, Code
from runtime.admin.history import Report
from runtime.admin.service import AdminCommand, BreakerAdmin, known_action
from runtime.web.errors import ApiError

ASK_SECONDS = 5.0


class FederatedBreakerAdmin:
    """The desk for every breaker of the stack."""

    def __init__(self, own: BreakerAdmin, upstreams: Mapping[str, Upstream]) -> None:
        self._own = own
        self._upstreams = list(upstreams.values())

    async def show(self, order: AdminCommand) -> list[Report]:
        """Every breaker; one whose service doesn't answer has the state None, and `error` says why."""
        told: dict[str, list[Report]] = {}

        async def inquire(upstream: Upstream) -> None:
            try:
                told[upstream.service.name] = await _tell(upstream, order, "GET", "")
            except ApiError as error:
                told[upstream.service.name] = [
                    {"name": name, "owner": upstream.service.process, "state": None, "error": error.message}
                    for name in upstream.service.dependencies
                ]

        async with trio.open_nursery() as nursery:
            for upstream in self._upstreams:
                nursery.start_soon(inquire, upstream)
        found = await self._own.show(order)
        return found + [one for upstream in self._upstreams for one in told[upstream.service.name]]

    async def show_one(self, name: str, order: AdminCommand) -> Report:
        """One breaker, with its recent past."""
        if (upstream := self._owner(name)) is None:
            return await self._own.show_one(name, order)
        seen: Report = await _tell(upstream, order, "GET", f"/{name}")
        return seen

    async def steer(self, name: str, action: str, order: AdminCommand) -> Report:
        """Do one of ACTIONS where the breaker is."""
        if (upstream := self._owner(name)) is None:
            return await self._own.steer(name, action, order)
        known_action(action)  # it becomes part of a URL
        seen: Report = await _tell(upstream, order, "POST", f"/{name}/{action}", {"reason": order.reason})
        return seen

    async def change(self, name: str, table: Mapping[str, Any], order: AdminCommand) -> Report:
        """Change keys of a policy where the breaker is."""
        if (upstream := self._owner(name)) is None:
            return await self._own.change(name, table, order)
        body = {**table, "reason": order.reason}
        seen: Report = await _tell(upstream, order, "PUT", f"/{name}/policy", body)
        return seen

    async def reload(self, order: AdminCommand) -> dict[str, Any]:
        """Every process reads breakers.toml again, the gateway first; what each said, by process.

        A file that the gateway can't use raises ApiError and has changed nothing anywhere. A service that
        can't use its own, or doesn't answer, is told of as {"error": …}.
        """
        told: dict[str, Any] = dict(await self._own.reload(order))

        async def pass_on(upstream: Upstream) -> None:
            try:
                told.update(await _tell(upstream, order, "POST", "/reload", {"reason": order.reason}))
            except ApiError as error:
                told[upstream.service.process] = {"error": error.message}

        async with trio.open_nursery() as nursery:
            for upstream in self._upstreams:
                nursery.start_soon(pass_on, upstream)
        return told

    def _owner(self, name: str) -> Upstream | None:
        """The service that has the breaker; None where it's the gateway's or nobody's."""
        return next((one for one in self._upstreams if name in one.service.dependencies), None)


async def _tell(
    upstream: Upstream, order: AdminCommand, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """The `data` of a service's answer. Raises ApiError: its own, or 502 where it doesn't answer."""
    request = httpx.Request(
        method,
        f"{upstream.base_url}/admin/breakers{path}",
        headers={"Authorization": order.authorization, REQUEST_ID: order.request_id},
        content=None if body is None else _encoded(body),
    )
    found: Any = None
    with trio.move_on_after(ASK_SECONDS) as limit:
        try:
            response = await upstream.transport.handle_async_request(request)
            try:
                found = json.loads(await response.aread())
            finally:
                await response.aclose()
        except (httpx.TransportError, ValueError, RecursionError):
            pass
    if not isinstance(found, dict):
        message = f"{upstream.service.process} doesn't answer"
        if limit.cancelled_caught and method != "GET":
            message += "; it may still carry this out"
        raise ApiError(Code.SERVICE_UNAVAILABLE, message, status=502)
    if "error" in found:
        raise ApiError(_code(found["error"]), str(found.get("message")), status=response.status_code)
    return found.get("data")


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
