"""The admin API's desk where there are several workers: what one is ordered, all do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.crew import Crew
from gateway.policies import keep_policies
from gateway.settings import GatewaySettings
from runtime.admin import Order, OwnDesk
from runtime.history import Report


class CrewDesk:
    """Orders its own worker first, and the others when that has worked."""

    def __init__(self, own: OwnDesk, crew: Crew, settings: GatewaySettings) -> None:
        self._own = own
        self._crew = crew
        self._settings = settings
        crew.obey = self._obey

    async def show(self, order: Order) -> list[Report]:
        """Every breaker."""
        return await self._own.show(order)

    async def show_one(self, name: str, order: Order) -> Report:
        """One breaker, with this worker's view of its recent past."""
        return await self._own.show_one(name, order)

    async def steer(self, name: str, action: str, order: Order) -> Report:
        """Do one of ACTIONS in every worker."""
        await self._own.steer(name, action, order)
        await self._pass_on(order, "steer", name=name, action=action)
        return await self._own.show_one(name, order)

    async def change(self, name: str, table: Mapping[str, Any], order: Order) -> Report:
        """Change keys of its policy in every worker."""
        await self._own.change(name, table, order)
        await self._pass_on(order, "change", name=name, table=dict(table))
        return await self._own.show_one(name, order)

    async def reload(self, order: Order) -> Any:
        """Read breakers.toml again in every worker."""
        told = await self._own.reload(order)
        keep_policies(self._settings, self._crew.seat.folder)
        await self._pass_on(order, "reload")
        return told

    async def _pass_on(self, order: Order, do: str, **more: Any) -> None:
        await self._crew.tell_others(
            {"do": do, "who": order.who, "reason": order.reason, "id": order.request_id, **more}
        )

    async def _obey(self, told: Mapping[str, Any]) -> None:
        # Who let the admin in was the worker that was asked.
        order = Order(told["who"], told["reason"], "", told["id"])
        if told["do"] == "steer":
            await self._own.steer(told["name"], told["action"], order)
        elif told["do"] == "change":
            await self._own.change(told["name"], told["table"], order)
        else:
            await self._own.reload(order)
