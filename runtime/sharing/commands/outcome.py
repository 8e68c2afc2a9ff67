"""What has become of a command: the instances that have applied it, and those that have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from actors.sharing.store import StoreUnavailable
from runtime.sharing.commands.command import Command
from runtime.sharing.commands.store import CommandStore

ACKNOWLEDGE_SECONDS = 0.5
"""The longest time for which an answer waits for other instances."""
LOOK_SECONDS = 0.02
"""Seconds between two looks at the store while something is awaited."""

log = structlog.get_logger("admin")


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """What has become of a command.

    result: of the target. shared: None: this process shares nothing; False: the store is gone, so it is
    applied here only. applied_by, not_yet: running instances. failed: by instance, why it couldn't.
    """

    result: Any
    shared: bool | None = None
    applied_by: tuple[str, ...] = ()
    not_yet: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


async def wait_for_instances(
    store: CommandStore, instance: str, command: Command, result: Any
) -> CommandOutcome:
    """Wait until all running instances have reported on the command, ACKNOWLEDGE_SECONDS at most.

    instance: this process's name; it has applied the command, with this result.
    """
    found = {instance: ""}
    running: Sequence[str] = ()
    with trio.move_on_after(ACKNOWLEDGE_SECONDS):
        while True:
            try:
                said = await store.applied(command.id)
            except StoreUnavailable:
                break
            running, found = said.running, {**said.results, **found}
            if set(running) <= found.keys():
                break
            await trio.sleep(LOOK_SECONDS)
    failed = {name: reason for name, reason in found.items() if reason}
    not_yet = sorted(set(running) - found.keys())
    if not_yet or failed:
        log.warning(
            "instances have not applied a command", not_yet=not_yet, failed=failed, command=command.do
        )
    return CommandOutcome(result, True, tuple(sorted(found.keys() - failed)), tuple(not_yet), failed)
