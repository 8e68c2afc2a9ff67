"""The file of the call log: whole lines are appended, by any number of processes, and it is rotated once."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from runtime.observability.reasons import reason_of

LIMIT_BYTES = 64 * 1024 * 1024
"""The size from which a file is renamed to its name with `.1`: some 600,000 calls."""
MODE = 0o600


class UnusableCallLog(Exception):
    """The file can't be written; str() names the setting and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"setting CALL_LOG: {reason} (got {str(path)!r})")


class LoggedCall(NamedTuple):
    """One call.

    time: Unix seconds at which it ended or was rejected. outcome: an Outcome, or "rejected". duration:
    seconds that the service took; None if it wasn't measured.
    """

    time: float
    breaker: str
    outcome: str
    duration: float | None


class CallLogFile:
    """Appends to the file at `path`, which it creates if needed. Not for two threads at once.

    A file of `limit` bytes or more becomes PATH.1, in place of an earlier one. Several processes may write to
    the same path: each batch is one write at the file's end, under a lock, after a check that the path still
    is this file. Raises UnusableCallLog.
    """

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        self._path = path
        self._limit = limit
        try:
            self._file = _open(path)
        except OSError as error:
            raise UnusableCallLog(path, f"can't be written: {reason_of(error)}") from error

    def append(self, calls: Iterable[LoggedCall], dropped: int = 0) -> None:
        """Append a line for each call, after one for the dropped lines before them. Raises OSError."""
        lines = [json.dumps({"dropped": dropped})] if dropped else []
        lines += [_line(call) for call in calls]
        data = ("\n".join(lines) + "\n").encode()
        try:
            self._lock_current()
            if _ends_in_a_cut_line(self._file):
                data = b"\n" + data
            while data:
                data = data[os.write(self._file, data) :]
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _lock_current(self) -> None:
        """Lock the file that the path is now, after a rotation if that one is full."""
        while True:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if self._is_current():
                if os.fstat(self._file).st_size < self._limit:
                    return
                os.replace(self._path, rotated(self._path))
            opened = _open(self._path)
            # This unlocks the old file, which no process writes to any more.
            os.close(self._file)
            self._file = opened

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False


def rotated(path: Path) -> Path:
    """The name of the older half of the log."""
    return path.with_name(f"{path.name}.1")


def _open(path: Path) -> int:
    # A pipe without a reader would block the open.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    file = os.open(path, flags, MODE)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, "not a regular file")
        os.fchmod(file, MODE)
    except OSError:
        os.close(file)
        raise
    return file


def _ends_in_a_cut_line(file: int) -> bool:
    """Whether the last line is cut: a disk was full, or the machine has lost power."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _line(call: LoggedCall) -> str:
    duration = None if call.duration is None else round(call.duration, 6)
    fields = {"time": round(call.time, 6), "breaker": call.breaker, "outcome": call.outcome}
    return json.dumps({**fields, "duration": duration})
