"""The store's part in operators' commands, in memory: commands.lua in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.sharing.commands.command import POLICIES, Command, is_policy_slot
from runtime.sharing.commands.store import Acknowledged, Everything, Given, News, Published, Slot

ALIVE, LONGEST, HISTORY = 5000, 256, 50


@dataclass
class Kept:
    version: int
    expires: int
    command: Command | None


NONE = Kept(-1, 0, None)


@dataclass
class MemoryCommands:
    """clock: milliseconds."""

    clock: Callable[[], int]
    sequence: int = 0
    newest: int = 0
    slots: dict[str, Kept] = field(default_factory=dict)
    stream: list[tuple[int, int, int, tuple[str, ...], Command]] = field(default_factory=list)
    instances: dict[str, int] = field(default_factory=dict)
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def flush(self) -> None:
        self.sequence = self.newest = 0
        for kept in (self.slots, self.stream, self.instances, self.results):
            kept.clear()

    def _write(self, slot: str, kept: Kept) -> None:
        self.slots[slot] = kept
        self.newest = max(self.newest, kept.version)
        if slot == POLICIES:
            for other in [one for one in self.slots if is_policy_slot(one)]:
                if self.slots[other].version < kept.version:
                    del self.slots[other]

    def _is_newer(self, slot: str, version: int) -> bool:
        if is_policy_slot(slot) and self.slots.get(POLICIES, NONE).version >= version:
            return False
        return self.slots.get(slot, NONE).version < version

    def _advance(self, least: int) -> None:
        self.sequence = self.sequence + 1 if self.sequence else max(self.clock(), least + 1)
        for listener in self.listeners:
            listener()

    def give(self, command: Command, age: int, deadline: int) -> Given:
        now = self.clock()
        if now > deadline:
            return Given(0, self.sequence, frozenset())
        version = max(now, self.newest + 1)
        if age > 0:
            version = max(now, self.newest) - age
            while version in {kept.version for kept in self.slots.values()}:
                version += 1
            version = max(1, version)
        expires = max(1, now - age + max(1, round(1000 * command.lasts))) if command.lasts else 0
        accepted, written = [], []
        for slot in command.slots():
            before = self.slots.get(slot, NONE)
            if before.command is not None and before.command.id == command.id:
                accepted.append(slot)
                version = before.version
            elif self._is_newer(slot, version):
                self._write(slot, Kept(version, expires, command))
                accepted.append(slot)
                written.append(slot)
        if written:
            self._advance(0)
            self.stream.append((self.sequence, version, expires, tuple(written), command))
            del self.stream[:-LONGEST]
        return Given(version, self.sequence, frozenset(accepted))

    def poll(self, instance: str, known: int, results: Mapping[str, str]) -> News:
        now = self.clock()
        self.instances[instance] = now
        for number, result in results.items():
            self.results.setdefault(number, {})[instance] = result
        if known == self.sequence:
            return News(self.sequence, now, False, [])
        new = [one for one in self.stream if one[0] > known]
        if any(one[0] != known + 1 + place for place, one in enumerate(new)):
            return News(self.sequence, now, True, [])
        return News(self.sequence, now, known + len(new) != self.sequence, self._published(new))

    def _published(self, new: list[tuple[int, int, int, tuple[str, ...], Command]]) -> list[Published]:
        return [
            Published(number, version, self._remaining(expires), slots, command)
            for number, version, expires, slots, command in new
        ]

    def _remaining(self, expires: int) -> int:
        return max(0, expires - self.clock()) if expires else -1

    def synchronise(self, instance: str, known: int, slots: Sequence[Slot]) -> Everything:
        now, changed = self.clock(), False
        self.instances[instance] = now
        for slot, version, remaining, command in slots:
            if self._is_newer(slot, version):
                expires = 0 if remaining < 0 else max(1, now + remaining)
                self._write(slot, Kept(version, expires, command))
                changed = True
        if changed or not self.sequence:
            self._advance(known)
        found = [
            Slot(slot, kept.version, self._remaining(kept.expires), kept.command)
            for slot, kept in self.slots.items()
            if kept.command is not None
        ]
        return Everything(self.sequence, now, found, [one[4] for one in self.stream[: -HISTORY - 1 : -1]])

    def applied(self, command_id: str) -> Acknowledged:
        running = [name for name, seen in self.instances.items() if seen >= self.clock() - ALIVE]
        return Acknowledged(running, dict(self.results.get(command_id, {})))

    def leave(self, instance: str) -> None:
        self.instances.pop(instance, None)
