"""Reading the logs of the stack: one process or several merged by time; in colours on a terminal."""

from __future__ import annotations

import heapq
import json
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from deploy.config import StackConfig, StackError
from protocols.topology import API_GATEWAY, AUTH_SERVICE, MONGODB, SCHOOL_SERVICE, STUDENT_SERVICE
from runtime.observability.printable import printable

# Only where a line's own time stands: a path or a document may hold another.
_STAMP = re.compile(r"""(?:^|"timestamp": "|"\$date":")(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)""")
_COLOURS = {
    API_GATEWAY: "cyan",
    AUTH_SERVICE: "magenta",
    SCHOOL_SERVICE: "green",
    STUDENT_SERVICE: "yellow",
    MONGODB: "blue",
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
        while line := file.readline():
            self._rest += line
            if line.endswith("\n"):
                whole, self._rest = self._rest[:-1], ""
                yield whole

    def _was_replaced(self, file: TextIO) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        held = Path(f"/dev/fd/{file.fileno()}").stat()
        return (now.st_ino, now.st_dev) != (held.st_ino, held.st_dev) or now.st_size < file.tell()


def show(layout: StackConfig, names: Sequence[str], *, follow: bool, last: int | None) -> None:
    """Print the logs of `names`: all of the current file or its `last` lines; then, following, what comes.

    Raises StackError where there is none, and none is waited for.
    """
    if not follow and not any(layout.log(name).exists() for name in names):
        raise StackError(f"nothing was logged yet in {layout.logs}; `uv run just up` starts the stack")
    console = Console(highlight=False, soft_wrap=True)
    # The same reader for what is there and for what comes: no line is told twice, none is missed.
    tails = {name: Tail(layout.log(name), from_end=False) for name in names}
    stack_lock = len(names) == 1
    stamped = [_stamped(tail, name, last) for name, tail in tails.items()]
    for _, name, line in heapq.merge(*stamped, key=lambda entry: entry[0]):
        print_line(console, name, line, stack_lock=stack_lock)
    while follow:
        for name, tail in tails.items():
            for line in tail.lines():
                print_line(console, name, line, stack_lock=stack_lock)
        time.sleep(0.2)


def _stamped(tail: Tail, name: str, last: int | None) -> Iterator[tuple[str, str, str]]:
    """Each line with a time: its own, or that of the line before where it has none."""
    stamp = ""
    lines: Iterable[str] = tail.lines()
    for line in lines if last is None else deque(lines, maxlen=last):
        if found := _STAMP.search(line):
            stamp = found.group(1).replace(" ", "T")
        yield stamp, name, line


def print_line(console: Console, name: str, line: str, *, stack_lock: bool) -> None:
    """For a person in colours; into a pipe as it is, behind its process where there are several."""
    if console.is_terminal:
        console.print(Text.assemble((f"{name:<15} │ ", _COLOURS[name]), readable(line)))
    else:
        # Not by the console: it ends the program with 1 where the reader of a pipe has seen enough.
        sys.stdout.write(f"{line}\n" if stack_lock else f"{name:<15} │ {line}\n")
        sys.stdout.flush()


def readable(line: str) -> Text:
    """A line of JSON as a person reads it: the time here, what happened, then the rest; another as it is.

    Nothing in it reaches the terminal as a control character.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        return Text(printable(line, keep="\t"))
    if isinstance(entry.get("t"), dict) and "msg" in entry:
        entry = _mongodbs(entry)
    stamp, event = str(entry.pop("timestamp", "")), printable(str(entry.pop("event", "")))
    level, trace = str(entry.pop("level", "")), entry.pop("exception", None)
    for known in ("process", "logger"):
        entry.pop(known, None)
    text = Text.assemble((_time_here(stamp), "dim"), "  ", (event, _style(event, level)))
    for key, value in entry.items():
        text.append(f"  {printable(key)}=", "dim")
        text.append(printable(value) if isinstance(value, str) else json.dumps(value))
    return text.append(_indented(str(trace)), "dim") if trace else text


def _time_here(stamp: str) -> str:
    """The time of day, as `just watch` and `just status` show it; what is no time as it is."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return printable(stamp[:19])


def _indented(trace: str) -> str:
    """A traceback below its line; what it quotes can't be taken for lines of their own."""
    return "".join(f"\n    {printable(line)}" for line in trace.split("\n"))


def _mongodbs(entry: dict[str, Any]) -> dict[str, Any]:
    """A line of MongoDB's own in our words; what it is about only where it matters: it is long."""
    level = {"W": "warning", "E": "error", "F": "critical"}.get(str(entry.get("s")), "info")
    more = {"attr": entry["attr"]} if level != "info" and "attr" in entry else {}
    return {"timestamp": entry["t"].get("$date", ""), "event": entry["msg"], "level": level, **more}


def _style(event: str, level: str) -> str:
    if "[CIRCUIT_BREAKER]" in event:
        return next((style for verb, style in _VERBS.items() if verb in event), "bold")
    return {"error": "bold red", "critical": "bold red", "warning": "yellow"}.get(level, "")
