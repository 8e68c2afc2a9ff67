"""The policies of one process's breakers: those of breakers.toml, with operators' changes on top."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog
import trio

from actors import CircuitBreakerConfig, Panel
from runtime.config.policies import CODE_FIELDS, BadConfiguration
from runtime.config.policy_file import load_breakers, load_configuration
from runtime.config.policy_reader import changed_policy

Changes = Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
"""By breaker, the changes of its policy, oldest first: the id of each, and its keys as in breakers.toml."""

RELOADS = 50

log = structlog.get_logger("runtime")


@dataclass(frozen=True, slots=True)
class Reload:
    """A reading of the file that changed the policies of `breakers`. time: Unix seconds.

    command_id: of the operator's command; empty: a signal caused it.
    """

    time: float
    breakers: tuple[str, ...]
    command_id: str


class ProcessPolicies:
    """Gives a panel's breakers their policies. The breakers keep state, windows and calls in flight.

    The fields in CODE_FIELDS keep their values. path, profile: of breakers.toml.
    """

    def __init__(self, panel: Panel, path: Path, profile: str | None) -> None:
        self._panel = panel
        self._path = path
        self._profile = profile
        self._from_file: dict[str, CircuitBreakerConfig] = {}
        self._changes: Changes = {}
        self.reloads: deque[Reload] = deque(maxlen=RELOADS)
        """The last ones that changed something, oldest first."""
        self._lock = trio.Lock()

    async def check(self) -> None:
        """Read the file, and change nothing. Raises BadConfiguration."""
        await trio.to_thread.run_sync(load_configuration, self._path, self._profile)

    async def reload(self, changes: Changes | None = None, *, command_id: str = "") -> list[str]:
        """Read the file again, and return the names of the breakers whose policy has changed.

        changes: the only ones from now on, also if the file is unusable; None: those of before stay.
        command_id: of the operator's command, if there is one.

        Raises BadConfiguration; the file's policies are those of before then.
        """
        try:
            policies = await trio.to_thread.run_sync(load_breakers, self._path, self._profile)
        except BadConfiguration:
            if changes is not None:
                await self.change(changes)
            raise
        async with self._lock:
            # A route's breaker has its service's policy; its name is the service's, a colon and the route's.
            self._from_file = {
                breaker.name: replace(policies[breaker.name.partition(":")[0]], name=breaker.name)
                for breaker in self._panel
            }
            self._changes = self._changes if changes is None else changes
            changed = (await self._give())[0]
            if changed:
                self.reloads.append(Reload(time.time(), tuple(changed), command_id))
            return changed

    async def change(self, changes: Changes) -> list[str]:
        """Make these the only changes, and return the ids of those that can't be used here.

        What isn't changed has the value of the file.
        """
        async with self._lock:
            self._changes = changes
            return (await self._give())[1]

    async def _give(self) -> tuple[list[str], list[str]]:
        """The names of the breakers that have changed, and the ids of changes that can't be used."""
        changed, unusable = [], []
        for breaker in self._panel:
            known = breaker.config
            # Until the file is read again, a breaker's first policy is the file's.
            config = self._from_file.setdefault(breaker.name, known)
            config = replace(config, **{field: getattr(known, field) for field in CODE_FIELDS})
            for number, table in self._changes.get(breaker.name, ()):
                try:
                    config = changed_policy(config, table)
                except ValueError as error:
                    unusable.append(number)
                    log.warning("a change of a policy can't be used", breaker=breaker.name, reason=str(error))
            if config != known:
                await breaker.configure(config)
                changed.append(breaker.name)
        return changed, unusable
