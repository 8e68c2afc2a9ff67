"""The admin API's desk where there are several workers: what one is ordered, all do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from gateway.settings import GatewaySettings
from gateway.workers.cluster import Crew
from gateway.workers.command_log import CommandRecord
from gateway.workers.policy_file import stage_policy_file
from protocols.http import Code
from runtime.admin.api import AdminCommand, LocalBreakerAdmin
from runtime.admin.history import Report
from runtime.config.breakers import BadConfiguration
from runtime.web.app import ApiError


class ClusterBreakerAdmin:
    """Gives every order to all workers. `workers_behind` in an answer are those that don't react now.

    They follow as soon as they run again. own: the desk of this worker; it reads the seats' copy of
    breakers.toml.
    """

    def __init__(self, own: LocalBreakerAdmin, crew: Crew, settings: GatewaySettings) -> None:
        self._own = own
        self._crew = crew
        self._settings = settings
        crew.obey = self._obey

    async def show(self, order: AdminCommand) -> list[Report]:
        """Every breaker."""
        return await self._own.show(order)

    async def show_one(self, name: str, order: AdminCommand) -> Report:
        """One breaker, with this worker's view of its recent past."""
        return await self._own.show_one(name, order)

    async def steer(self, name: str, action: str, order: AdminCommand) -> Report:
        """Do one of ACTIONS in every worker."""
        self._own.action(name, action)
        return await self._for_all(name, order, do="steer", name=name, action=action)

    async def change(self, name: str, table: Mapping[str, Any], order: AdminCommand) -> Report:
        """Change keys of its policy in every worker."""
        self._own.changed(name, table)
        return await self._for_all(name, order, do="change", name=name, table=dict(table))

    async def reload(self, order: AdminCommand) -> Any:
        """Read breakers.toml again in every worker; {"error": …} where some have not followed."""
        try:
            await trio.to_thread.run_sync(stage_policy_file, self._settings, self._crew.seat.folder)
        except BadConfiguration as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        told, behind = await self._crew.order(_told(order, do="reload"))
        if behind:
            late = f"not yet by worker {', '.join(map(str, behind))}: it follows when it runs again"
            return {process: {"error": late} for process in told}
        return told

    async def _for_all(self, breaker: str, order: AdminCommand, **what: Any) -> Report:
        _, behind = await self._crew.order(_told(order, **what))
        # Seen anew: the others may have followed after this worker.
        seen = await self._own.show_one(breaker, order)
        return {**seen, "workers_behind": behind} if behind else seen

    async def _obey(self, told: CommandRecord) -> Any:
        # Who let the admin in was the worker that was asked.
        order = AdminCommand(told["who"], told["reason"], "", told["id"])
        match told["do"]:
            case "steer":
                return await self._own.act(told["name"], told["action"], order)
            case "change":
                return await self._own.configure(told["name"], told["table"], order)
            case _:
                return await self._own.reload(order)


def _told(order: AdminCommand, **what: Any) -> CommandRecord:
    return {"who": order.who, "reason": order.reason, "id": order.request_id, **what}
