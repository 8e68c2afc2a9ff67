"""Reads the call log that the gateway writes to CALL_LOG. Every line is checked: it may be anybody's file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

OUTCOMES = ("success", "failure", "rejected", "ignored", "cancelled")
LONGEST_LINE = 1000
"""Bytes. The gateway's own lines have some 100."""
LATEST_TIME = 1e11
LONGEST_CALL = 1e6
"""Seconds."""


class BadLog(Exception):
    """A file can't be used; str() names it, and the line."""


class RecordedCall(NamedTuple):
    """One call.

    start: Unix seconds. duration: seconds; None if unknown. failed: None if it was rejected: what the
    dependency would have answered is unknown.
    """

    start: float
    duration: float | None
    failed: bool | None


@dataclass(slots=True)
class Log:
    """What was recorded.

    calls: by breaker, in order of their starts. neutral: calls that were ignored or cancelled, which say
    nothing of a dependency. dropped: lines that the gateway had to drop. unknown: calls of breakers that
    aren't in breakers.toml. cut: the last line is incomplete, and left out.
    """

    calls: dict[str, list[RecordedCall]] = field(default_factory=dict)
    neutral: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    unknown: int = 0
    cut: bool = False


def read_log(path: Path, breakers: Collection[str]) -> Log:
    """Read PATH.1, if there is one, and PATH. breakers: the known ones; a route's is known by its service's.

    Raises BadLog.
    """
    log = Log()
    older = path.with_name(f"{path.name}.1")
    for file in [older, path] if older.exists() else [path]:
        for number, line, is_last in _lines(file):
            _add(log, _parsed(f"{file}:{number}", line, log, is_last=is_last), breakers)
    for calls in log.calls.values():
        calls.sort(key=lambda call: call.start)
    return log


def service_breaker(name: str) -> str:
    """The breaker whose table in breakers.toml a breaker's policy is from: a route has its service's."""
    return name.partition(":")[0]


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """The number and text of each line, and whether it has no end."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise BadLog(f"{path}:{number}: longer than {LONGEST_LINE} bytes")
                yield number, line, not line.endswith(b"\n")
    except OSError as error:
        raise BadLog(f"{path}: can't be read: {error.strerror}") from error


def _parsed(where: str, line: bytes, log: Log, *, is_last: bool) -> Any:
    if not line.strip():
        return None
    try:
        return _checked(json.loads(line.decode(), parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        if is_last:
            # It is being written.
            log.cut = True
            return None
        raise BadLog(f"{where}: {_reason(error)}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "not JSON" if isinstance(error, RecursionError) else f"not JSON: {error}"
    return str(error)


def _checked(value: Any) -> Any:
    """Return the value if it is a line of the call log. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"should be an object, got {_shown(value)}")
    if "dropped" in value:
        if type(value["dropped"]) is not int or not 0 < value["dropped"] < 1e12:
            raise ValueError(f"dropped should be a number of lines, got {_shown(value['dropped'])}")
        return value
    for key in ("time", "breaker", "outcome", "duration"):
        if key not in value:
            raise ValueError(f"{key} is missing")
    _check_number("time", value["time"], LATEST_TIME)
    if value["duration"] is not None:
        _check_number("duration", value["duration"], LONGEST_CALL)
    if not isinstance(value["breaker"], str):
        raise ValueError(f"breaker should be a name, got {_shown(value['breaker'])}")
    if value["outcome"] not in OUTCOMES:
        raise ValueError(f"outcome should be one of {', '.join(OUTCOMES)}, got {_shown(value['outcome'])}")
    return value


def _check_number(key: str, value: Any, most: float) -> None:
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise ValueError(f"{key} should be seconds, 0 to {most:g}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _add(log: Log, line: Any, breakers: Collection[str]) -> None:
    if line is None:
        return
    if "dropped" in line:
        log.dropped += line["dropped"]
        return
    name, outcome, duration = line["breaker"], line["outcome"], line["duration"]
    if service_breaker(name) not in breakers:
        log.unknown += 1
    elif outcome in ("ignored", "cancelled"):
        log.neutral[service_breaker(name)] += 1
    else:
        failed = None if outcome == "rejected" else outcome == "failure"
        log.calls.setdefault(name, []).append(
            RecordedCall(line["time"] - (duration or 0.0), duration, failed)
        )
