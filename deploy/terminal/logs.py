"""`just logs`: the logs of one process, or of several merged by time; in colours on a terminal."""

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
from protocols.topology import (
    API_GATEWAY,
    AUTH_SERVICE,
    LOAD_BALANCER,
    MONGODB,
    SCHOOL_SERVICE,
    STUDENT_SERVICE,
    VALKEY,
    is_gateway,
)
from runtime.observability.printable import printable

# Valkey's lines: pid and role, time, importance, message. The stack's Valkey writes UTC.
_VALKEY_LINE = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d+) ([.\-*#]) (.*)")
# The places of a line's own time. A path or a document in the line may contain another one.
_STAMP = re.compile(r"""(?:^|"timestamp": "|"\$date":")(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?)""")
_COLOURS = {
    API_GATEWAY: "cyan",
    AUTH_SERVICE: "magenta",
    SCHOOL_SERVICE: "green",
    STUDENT_SERVICE: "yellow",
    MONGODB: "blue",
    VALKEY: "bright_blue",
    LOAD_BALANCER: "bright_cyan",
}

_EVENT_STYLES = {" OPENED:": "bold red", " HALF_OPEN:": "bold yellow", " CLOSED:": "bold green"}


class Tail:
    """A reader of one log that follows it across rotations. from_end: skip the lines that are there."""

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
        """The complete lines that were written since the last call."""
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


def show(config: StackConfig, names: Sequence[str], *, follow: bool, last: int | None) -> None:
    """Print the logs of the processes `names`.

    last: only so many lines of each; None for the whole current file. follow: go on with new lines until
    interrupted. Raises StackError if there is no log, and `follow` is False.
    """
    if not follow and not any(config.log(name).exists() for name in names):
        raise StackError(f"nothing was logged yet in {config.logs}; `uv run just up` starts the stack")
    console = Console(highlight=False, soft_wrap=True)
    # One reader for old and new lines: no line is printed twice, and none is missed.
    tails = {name: Tail(config.log(name), from_end=False) for name in names}
    prefix = len(names) > 1
    stamped = [_stamped(tail, name, last) for name, tail in tails.items()]
    for _, name, line in heapq.merge(*stamped, key=lambda entry: entry[0]):
        print_line(console, name, line, prefix=prefix)
    while follow:
        for name, tail in tails.items():
            for line in tail.lines():
                print_line(console, name, line, prefix=prefix)
        time.sleep(0.2)


def _stamped(tail: Tail, name: str, last: int | None) -> Iterator[tuple[str, str, str]]:
    """(time, process, line) of each line. A line without a time has the time of the line before."""
    stamp = ""
    lines: Iterable[str] = tail.lines()
    for line in lines if last is None else deque(lines, maxlen=last):
        if found := _STAMP.search(line):
            stamp = found.group(1).replace(" ", "T")
        elif entry := _from_valkey(line):
            stamp = entry["timestamp"].removesuffix("+00:00")
        yield stamp, name, line


def print_line(console: Console, name: str, line: str, *, prefix: bool) -> None:
    """Print one line: readable and coloured on a terminal, unchanged into a pipe.

    prefix: put the name of the process before a line in a pipe.
    """
    if console.is_terminal:
        console.print(
            Text.assemble(
                (f"{name:<15} │ ", _COLOURS[API_GATEWAY if is_gateway(name) else name]), readable(line)
            )
        )
    else:
        # Not with the console: it exits with status 1 after a closed pipe.
        sys.stdout.write(f"{name:<15} │ {line}\n" if prefix else f"{line}\n")
        sys.stdout.flush()


def readable(line: str) -> Text:
    """A line of JSON, or of Valkey, as local time, event and the other keys; any other line unchanged.

    Control characters are escaped.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = _from_valkey(line)
    if not isinstance(entry, dict):
        return Text(printable(line, keep="\t"))
    if isinstance(entry.get("t"), dict) and "msg" in entry:
        entry = _from_mongodb(entry)
    stamp, event = str(entry.pop("timestamp", "")), printable(str(entry.pop("event", "")))
    level, trace = str(entry.pop("level", "")), entry.pop("exception", None)
    for known in ("process", "logger"):
        entry.pop(known, None)
    text = Text.assemble((_local_time(stamp), "dim"), "  ", (event, _style(event, level)))
    for key, value in entry.items():
        text.append(f"  {printable(key)}=", "dim")
        text.append(printable(value) if isinstance(value, str) else json.dumps(value))
    return text.append(_indented(str(trace)), "dim") if trace else text


def _local_time(stamp: str) -> str:
    """The local time of day, HH:MM:SS, as in `just watch`; text that is no time unchanged."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return printable(stamp[:19])


def _indented(trace: str) -> str:
    """A traceback, indented below its line, so that its text can't be mistaken for log lines."""
    return "".join(f"\n    {printable(line)}" for line in trace.split("\n"))


def _from_mongodb(entry: dict[str, Any]) -> dict[str, Any]:
    """A line of MongoDB's log with our keys. The long `attr` is kept for warnings and errors only."""
    level = {"W": "warning", "E": "error", "F": "critical"}.get(str(entry.get("s")), "info")
    more = {"attr": entry["attr"]} if level != "info" and "attr" in entry else {}
    return {"timestamp": entry["t"].get("$date", ""), "event": entry["msg"], "level": level, **more}


def _from_valkey(line: str) -> dict[str, Any] | None:
    """A line of Valkey's log with our keys; None for any other line."""
    found = _VALKEY_LINE.fullmatch(line)
    if found is None:
        return None
    try:
        time_of_line = datetime.strptime(f"{found[1]} +0000", "%d %b %Y %H:%M:%S.%f %z")
    except ValueError:
        return None
    level = "warning" if found[2] == "#" else "info"
    return {"timestamp": time_of_line.isoformat(), "event": found[3], "level": level}


def _style(event: str, level: str) -> str:
    if "[CIRCUIT_BREAKER]" in event:
        return next((style for word, style in _EVENT_STYLES.items() if word in event), "bold")
    return {"error": "bold red", "critical": "bold red", "warning": "yellow"}.get(level, "")
