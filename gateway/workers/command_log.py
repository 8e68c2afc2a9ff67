"""What operators have ordered of all workers: one list for all, in a file, so that all follow in one order.

Who starts later reads it, too, and carries out what still holds.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

HOLDS = frozenset({"force_open", "disable", "observe"})
"""Actions that hold until another ends them."""

CommandRecord = Mapping[str, Any]
AGAIN: CommandRecord = {"do": "policies"}
"""An order: the seats' own copy of breakers.toml is a new one."""

log = structlog.get_logger("workers")


class Orders:
    """The list, and how far one worker has read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def add(self, told: CommandRecord) -> None:
        """Append one order. Raises OSError."""
        # One write to the end of a file is before or after another's, never within it. It begins a new line,
        # so that one which a full disk has cut off spoils no other.
        line = b"\n" + json.dumps(told).encode() + b"\n"
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "an order could not be written", str(self._path))

    def new(self) -> list[CommandRecord]:
        """What was added since this was last asked, oldest first."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
                lines = lines[: lines.rfind(b"\n") + 1]  # one may be seen while it is being written
        except FileNotFoundError:
            return []
        self._read += len(lines)
        return [told for line in lines.splitlines() if line and (told := _read(line)) is not None]


def _read(line: bytes) -> CommandRecord | None:
    try:
        told: CommandRecord = json.loads(line)
    except ValueError:
        log.warning("an order was written by half; whoever gave it was told so")
        return None
    return told


def standing(orders: Iterable[CommandRecord]) -> list[CommandRecord]:
    """Which of the orders still hold: policies changed since the file was read, and held states. Pure."""
    changes: list[CommandRecord] = []
    holds: dict[str, CommandRecord] = {}
    for told in orders:
        match told:
            case {"do": "steer", "name": name, "action": action}:
                holds.pop(name, None)
                if action in HOLDS:
                    holds[name] = told
            case {"do": "change"}:
                changes.append(told)
            case _:  # the file was read again
                changes.clear()
    return [*changes, *holds.values()]
