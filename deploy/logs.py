"""Reading the logs of the stack: one process or several merged by time; in colours on a terminal."""

from __future__ import annotations

import heapq
import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from deploy.layout import Layout

_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?")
_COLOURS = {
    "api-gateway": "cyan",
    "auth-service": "magenta",
    "school-service": "green",
    "student-service": "yellow",
    "mongodb": "blue",
}

_VERBS = {" OPENED:": "bold red", " HALF_OPEN:": "bold yellow", " CLOSED:": "bold green"}


class Tail:
    """Follows one log, also when it is rotated away."""

    def __init__(self, path: Path, *, from_end: bool = True) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._rest = ""
        self._open()
        if self._file and from_end:
            self._file.seek(0, 2)

    def _open(self) -> None:
        try:
            self._file = self._path.open(errors="replace")
        except FileNotFoundError:
            self._file = None

    def lines(self) -> Iterator[str]:
        """The whole lines that were written since the last call."""
        if self._file is None:
            self._open()
        if self._file is None:
            return
        yield from self._read(self._file)
        if self._was_replaced(self._file):
            self._file.close()
            self._open()
            if self._file:
                yield from self._read(self._file)

    def _read(self, file: TextIO) -> Iterator[str]:
        *whole, self._rest = (self._rest + file.read()).split("\n")
        yield from whole

    def _was_replaced(self, file: TextIO) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        held = Path(f"/dev/fd/{file.fileno()}").stat()
        return (now.st_ino, now.st_dev) != (held.st_ino, held.st_dev) or now.st_size < file.tell()


def show(layout: Layout, names: Sequence[str], *, follow: bool, last: int | None) -> None:
    """Print the logs of `names`: all of the current file or its `last` lines; then, following, what comes."""
    console = Console(highlight=False, soft_wrap=True)
    tails = {name: Tail(layout.log(name)) for name in names} if follow else {}
    alone = len(names) == 1
    stamped = [_stamped(layout.log(name), name, last) for name in names]
    for _, name, line in heapq.merge(*stamped, key=lambda entry: entry[0]):
        _print(console, name, line, alone=alone)
    while tails:
        for name, tail in tails.items():
            for line in tail.lines():
                _print(console, name, line, alone=alone)
        time.sleep(0.2)


def _stamped(path: Path, name: str, last: int | None) -> Iterator[tuple[str, str, str]]:
    """Each line with a time: its own, or that of the line before where it has none."""
    stamp = ""
    try:
        with path.open(errors="replace") as file:
            for line in file if last is None else deque(file, maxlen=last):
                if found := _STAMP.search(line):
                    stamp = found.group().replace(" ", "T")
                yield stamp, name, line.rstrip("\n")
    except FileNotFoundError:
        return


def _print(console: Console, name: str, line: str, *, alone: bool) -> None:
    """For a person in colours; into a pipe as it is, behind its process where there are several."""
    if console.is_terminal:
        console.print(Text.assemble((f"{name:<15} │ ", _COLOURS[name]), readable(line)))
    elif alone:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    else:
        console.print(Text.assemble(f"{name:<15} │ ", Text.from_ansi(line)))


def readable(line: str) -> Text:
    """A line of JSON as a person reads it: time, what happened, then the rest; another as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return Text.from_ansi(line)
    if not isinstance(entry, dict):
        return Text(line)
    if "t" in entry and "msg" in entry:  # MongoDB's own
        entry = {"timestamp": entry["t"].get("$date", ""), "event": entry["msg"], "level": entry.get("s", "")}
    stamp, event = str(entry.pop("timestamp", "")), str(entry.pop("event", ""))
    level, trace = str(entry.pop("level", "")), entry.pop("exception", None)
    for known in ("process", "logger"):
        entry.pop(known, None)
    text = Text.assemble((stamp[11:19], "dim"), "  ", (event, _style(event, level)))
    for key, value in entry.items():
        text.append(f"  {key}=", "dim").append(value if isinstance(value, str) else json.dumps(value))
    return text.append(f"\n{trace}", "dim") if trace else text


def _style(event: str, level: str) -> str:
    if "[CIRCUIT_BREAKER]" in event:
        return next((style for verb, style in _VERBS.items() if verb in event), "bold")
    return {"error": "bold red", "critical": "bold red", "warning": "yellow"}.get(level, "")
