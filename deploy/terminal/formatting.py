"""How breakers look in a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Columns = Sequence[tuple[str, int, int]]
"""Of each column: heading, its width, and how wide a terminal has to be for it."""

STYLES = {
    "CLOSED": "green",
    "HALF_OPEN": "yellow",
    "OPEN": "bold red",
    "FORCED_OPEN": "bold red",
    "DISABLED": "magenta",
    "OBSERVING": "magenta",
}
MOST_PIPS = 10


def duration(seconds: float) -> str:
    """42 s · 1 min 12 s · 3 h 12 min · 2 d 4 h."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def when(unix: float) -> str:
    """The time of day, here."""
    return time.strftime("%H:%M:%S", time.localtime(unix))


def failure_meter(breaker: Mapping[str, Any]) -> Text:
    """How near it is to tripping: ●●○○○, or what is counted if failures in a row don't decide."""
    count, policy = breaker["failure_count"], breaker["policy"]
    most, trip = policy["max_failures"], policy.get("trip")
    if trip is not None:
        return Text(_counted(count, breaker.get("slow_count", 0), trip))
    if most > MOST_PIPS:
        return Text(f"{count}/{most}")
    lit = min(count, most)
    return Text.assemble(("●" * lit, "red"), ("○" * (most - lit), "dim"))


def _counted(failures: int, slow: int, trip: Mapping[str, Any]) -> str:
    """What a trip strategy counts: failures, slow calls, or both."""
    if trip["kind"] == "SlowCallRate":
        return f"{slow} slow"
    goes_by_slow = any(one["kind"] == "SlowCallRate" for one in trip.get("strategies", ()))
    return f"{failures}+{slow} slow" if goes_by_slow else f"{failures}"


def columns_for_width(columns: Columns, width: int, *numbers: str) -> tuple[Table, list[bool]]:
    """A table of what fits into `width`, and which columns these are; the last takes what is left.

    What is longer than its column ends in an ellipsis. numbers: headings of columns that are aligned right.
    """
    fits = [width >= least for _, _, least in columns]
    table = Table(box=None, pad_edge=False, width=width if fits[-1] else None)
    for (heading, size, _), there in zip(columns, fits, strict=True):
        if there:
            last = heading == columns[-1][0]
            table.add_column(
                heading,
                no_wrap=True,
                overflow="ellipsis",
                justify="right" if heading in numbers else "left",
                width=None if last else size,
                ratio=1 if last else None,
            )
    return table, fits
