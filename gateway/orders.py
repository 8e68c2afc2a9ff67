"""What operators have ordered of all workers: one list for all, in a file, so that all follow in one order.

Who starts later reads it, too, and carries out what still holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HOLDS = frozenset({"force_open", "disable", "observe"})
"""Actions that hold until another ends them."""

Told = Mapping[str, Any]
AGAIN: Told = {"do": "policies"}
"""An order: the seats' own copy of breakers.toml is a new one."""


class Orders:
    """The list, and how far one worker has read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def add(self, told: Told) -> None:
        """Append one order."""
        # One write to the end of a file is before or after another's, never within it.
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(told).encode() + b"\n")

    def new(self) -> list[Told]:
        """What was added since this was last asked, oldest first."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                lines = file.read()
                lines = lines[: lines.rfind(b"\n") + 1]  # one may be seen while it is being written
        except FileNotFoundError:
            return []
        self._read += len(lines)
        return [json.loads(line) for line in lines.splitlines()]


def standing(orders: Iterable[Told]) -> list[Told]:
    """Which of the orders still hold: policies changed since the file was read, and held states. Pure."""
    changes: list[Told] = []
    holds: dict[str, Told] = {}
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
