"""Which operators' commands are in force, as one instance knows it. Pure.

Each slot has the newest command for it. A command that lifts another one stays in the slot: an older one that
is heard of later must not come back. Times are seconds on the instance's own clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from runtime.sharing.commands.command import HOLDS, POLICIES, Command, is_policy_slot

PENDING = math.inf
"""The version of a command that the store hasn't got yet: newer than all that it has."""
REFUSED = 0
"""The version of a command for which the store has a newer one: all that it has is newer."""
NEVER = math.inf


@dataclass(frozen=True, slots=True)
class CommandInForce:
    """A command in its slot. version: orders commands, by the store. until: when it expires."""

    command: Command
    version: float
    until: float = NEVER


class CommandsInForce:
    """The newest command of each slot."""

    def __init__(self) -> None:
        self._entries: dict[str, CommandInForce] = {}

    def merge(self, slot: str, entry: CommandInForce) -> bool:
        """Take what another instance or the store has. Return whether it is newer than what is known."""
        known = self._entries.get(slot)
        if known is not None and known.version >= entry.version:
            return False
        if is_policy_slot(slot) and self._lifted_before() >= entry.version:
            return False
        self._entries[slot] = entry
        if slot == POLICIES:
            self._lift_changes(entry.version)
        return True

    def put(self, command: Command, until: float) -> None:
        """Take a command that was given here; it is newer than all that is known, and PENDING."""
        if command.do == "reload":
            self._lift_changes(NEVER)
        for slot in command.slots():
            self._entries.pop(slot, None)  # the order of the entries is that of their age
            self._entries[slot] = CommandInForce(command, PENDING, until)

    def settle(self, command: Command, version: int, accepted: frozenset[str]) -> None:
        """The store has taken a pending command for the slots `accepted`, and refused it for the others."""
        for slot in command.slots():
            entry = self._entries.get(slot)
            if entry is not None and entry.command.id == command.id:
                self._entries[slot] = replace(entry, version=version if slot in accepted else REFUSED)

    def _lifted_before(self) -> float:
        reload = self._entries.get(POLICIES)
        return -1 if reload is None or reload.version == PENDING else reload.version

    def _lift_changes(self, version: float) -> None:
        """Drop the changes of policies that are older than a reload. NEVER: all, also pending ones."""
        self._entries = {
            slot: entry
            for slot, entry in self._entries.items()
            if not is_policy_slot(slot) or (version != NEVER and entry.version > version)
        }

    def entries(self) -> Iterator[tuple[str, CommandInForce]]:
        """Every slot that was ever taken."""
        yield from self._entries.items()

    def get(self, slot: str) -> CommandInForce | None:
        """What is in a slot, expired or not."""
        return self._entries.get(slot)

    def holds(self, now: float) -> dict[str, CommandInForce]:
        """The holds in force, by breaker."""
        return {
            entry.command.breaker: entry
            for entry in self._entries.values()
            if entry.command.do in HOLDS and now < entry.until
        }

    def changes(self, now: float) -> dict[str, list[Command]]:
        """The changes of policies in force by breaker, oldest first, with the keys that are still theirs."""
        found: dict[str, dict[str, tuple[CommandInForce, dict[str, object]]]] = {}
        for slot, entry in self._entries.items():
            if is_policy_slot(slot) and now < entry.until:
                key = slot.removeprefix(f"policy:{entry.command.breaker}:")
                of_breaker = found.setdefault(entry.command.breaker, {})
                _, keys = of_breaker.setdefault(entry.command.id, (entry, {}))
                keys[key] = entry.command.changes[key]
        return {
            breaker: [
                replace(entry.command, changes=dict(sorted(keys.items())))
                for entry, keys in sorted(commands.values(), key=lambda one: one[0].version)
            ]
            for breaker, commands in found.items()
        }

    def until(self, command: Command) -> float:
        """When a command in force expires; NEVER if it doesn't."""
        return max((e.until for e in self._entries.values() if e.command.id == command.id), default=NEVER)

    def next_expiry(self, now: float) -> float:
        """When the next command in force expires; NEVER if none does."""
        return min((e.until for e in self._entries.values() if e.until > now), default=NEVER)
