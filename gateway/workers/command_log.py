"""The operators' commands for all workers: one file, so that every worker runs them in the same order.

A worker that starts later reads the file as well, and runs the commands that are still in effect.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

LASTING_ACTIONS = frozenset({"force_open", "disable", "observe"})
"""The actions whose state lasts until another action ends it."""

CommandRecord = Mapping[str, Any]
"""A command as JSON. `do` is its kind; the other keys depend on it."""
RELOAD_POLICIES: CommandRecord = {"do": "policies"}
"""The workers' copy of breakers.toml has been replaced."""

log = structlog.get_logger("workers")


class CommandLog:
    """The file of commands, and the position up to which one worker has read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def append(self, record: CommandRecord) -> None:
        """Append one command. Raises OSError if it can't be written whole."""
        # Writes that append to a file never interleave. The record begins with a newline, so that a record
        # that a full disk has truncated doesn't spoil the next one.
        line = b"\n" + json.dumps(record).encode() + b"\n"
        with self._path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "a command could not be written", str(self._path))

    def read_new(self) -> list[CommandRecord]:
        """The commands that were added since the previous call, oldest first."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                lines = file.read()
                lines = lines[: lines.rfind(b"\n") + 1]  # the last record may still be being written
        except FileNotFoundError:
            return []
        self._position += len(lines)
        return [record for line in lines.splitlines() if line and (record := _parse(line)) is not None]


def _parse(line: bytes) -> CommandRecord | None:
    try:
        record: CommandRecord = json.loads(line)
    except ValueError:
        log.warning("a truncated command is skipped; its author got an error")
        return None
    return record


def commands_in_effect(records: Iterable[CommandRecord]) -> list[CommandRecord]:
    """The commands that a new worker has to run, oldest first for each kind. Pure.

    These are the changes of policies since the last reload, and the last lasting action on each breaker
    unless another action has ended it.
    """
    changes: list[CommandRecord] = []
    lasting: dict[str, CommandRecord] = {}
    for record in records:
        match record:
            case {"do": "steer", "name": name, "action": action}:
                lasting.pop(name, None)
                if action in LASTING_ACTIONS:
                    lasting[name] = record
            case {"do": "change"}:
                changes.append(record)
            case _:  # a reload has replaced all policies
                changes.clear()
    return [*changes, *lasting.values()]
