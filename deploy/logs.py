"""Reading the logs of the stack: one process raw, several merged by time."""

from __future__ import annotations

import heapq
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
        _print(console, None if alone else name, line)
    while tails:
        for name, tail in tails.items():
            for line in tail.lines():
                _print(console, None if alone else name, line)
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


def _print(console: Console, name: str | None, line: str) -> None:
    if name is None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    else:
        console.print(Text.assemble((f"{name:<15} │ ", _COLOURS[name]), Text.from_ansi(line)))
