"""The admin API of a gateway with several workers: a command that one worker receives is run by all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from gateway.settings import GatewaySettings
from gateway.workers.cluster import WorkerCluster
from gateway.workers.command_log import CommandRecord
from gateway.workers.policy_file import stage_policy_file
from protocols.http import Code
from runtime.admin.history import Report
from runtime.admin.service import AdminCommand, LocalBreakerAdmin
from runtime.config.policies import BadConfiguration
from runtime.web.errors import ApiError


class ClusterBreakerAdmin:
    """Runs every command in all workers.

    `workers_behind` in an answer lists the workers that have not replied in time; they run the command as
    soon as they can. local: administers this worker's breakers; its policies are the workers' copy of
    breakers.toml.
    """

    def __init__(self, local: LocalBreakerAdmin, cluster: WorkerCluster, settings: GatewaySettings) -> None:
        self._local = local
        self._cluster = cluster
        self._settings = settings
        cluster.run_command = self._run

    async def show(self, command: AdminCommand) -> list[Report]:
        """Every breaker."""
        return await self._local.show(command)

    async def show_one(self, name: str, command: AdminCommand) -> Report:
        """One breaker, with the recent history that this worker has seen."""
        return await self._local.show_one(name, command)

    async def steer(self, name: str, action: str, command: AdminCommand) -> Report:
        """Do one of ACTIONS in every worker."""
        self._local.action(name, action)
        return await self._run_on_all(name, command, do="steer", name=name, action=action)

    async def change(self, name: str, table: Mapping[str, Any], command: AdminCommand) -> Report:
        """Change keys of the breaker's policy in every worker."""
        self._local.changed(name, table)
        return await self._run_on_all(name, command, do="change", name=name, table=dict(table))

    async def reload(self, command: AdminCommand) -> Any:
        """Read breakers.toml again in every worker; {"error": …} if some workers have not done so yet."""
        try:
            await trio.to_thread.run_sync(stage_policy_file, self._settings, self._cluster.slot.folder)
        except BadConfiguration as error:
            raise ApiError(Code.VALIDATION_ERROR, str(error)) from error
        result, behind = await self._cluster.run_on_all(_record(command, do="reload"))
        if behind:
            late = f"not yet by worker {', '.join(map(str, behind))}: it follows when it runs again"
            return {process: {"error": late} for process in result}
        return result

    async def _run_on_all(self, breaker: str, command: AdminCommand, **fields: Any) -> Report:
        _, behind = await self._cluster.run_on_all(_record(command, **fields))
        # Read again: other workers may have run the command after this one.
        report = await self._local.show_one(breaker, command)
        return {**report, "workers_behind": behind} if behind else report

    async def _run(self, record: CommandRecord) -> Any:
        # The worker that received the command has authenticated the admin.
        command = AdminCommand(record["who"], record["reason"], "", record["id"])
        match record["do"]:
            case "steer":
                return await self._local.act(record["name"], record["action"], command)
            case "change":
                return await self._local.configure(record["name"], record["table"], command)
            case _:
                return await self._local.reload(command)


def _record(command: AdminCommand, **fields: Any) -> CommandRecord:
    return {"who": command.who, "reason": command.reason, "id": command.request_id, **fields}
