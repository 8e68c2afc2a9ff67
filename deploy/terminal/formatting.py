"""The parts of the terminal views: durations, times of day, failure meters, tables that fit a width."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

Columns = Sequence[tuple[str, int, int]]
"""(heading, width, least width of a terminal that shows it) of each column, in characters."""

STYLES = {
    "CLOSED": "green",
    "HALF_OPEN": "yellow",
    "OPEN": "bold red",
    "FORCED_OPEN": "bold red",
    "DISABLED": "magenta",
    "OBSERVING": "magenta",
}
MOST_DOTS = 10
"""Largest max_failures that is shown as dots."""


def duration(seconds: float) -> str:
    """A duration in at most two units: 42 s, 1 min 12 s, 3 h 12 min, 2 d 4 h. Negative ones are 0 s."""
    s = max(0, round(seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def time_of_day(unix: float) -> str:
    """The local time of day, HH:MM:SS."""
    return time.strftime("%H:%M:%S", time.localtime(unix))


def begin_of_state(state: str, since: Any, outage_since: Any) -> Any:
    """The Unix time from which a breaker's state is dated; of OPEN the begin of the outage.

    since: the last transition. outage_since: when it left CLOSED; None or 0 while it is closed. A probe that
    fails doesn't end the outage, so that OPEN is dated from its begin, and HALF_OPEN from its own.
    """
    return since if state == "HALF_OPEN" else outage_since or since


def failure_meter(breaker: Mapping[str, Any]) -> Text:
    """The failures of a breaker and its limit.

    ●●○○○ for consecutive failures, 3/50 above MOST_DOTS; 3/6 (1% usual) for an adaptive one; for another trip
    strategy the counts with their window: "3 in 20 calls".
    """
    count, policy = breaker["failure_count"], breaker["policy"]
    most, trip = policy["max_failures"], policy.get("trip")
    if trip is not None and trip["kind"] == "Adaptive" and breaker.get("learned"):
        return Text(_evidence(breaker["learned"]))
    if trip is not None:
        return Text(_counted(count, breaker.get("slow_count", 0), trip))
    if most > MOST_DOTS:
        return Text(f"{count}/{most}")
    filled = min(count, most)
    return Text.assemble(("●" * filled, "red"), ("○" * (most - filled), "dim"))


def _evidence(learned: Mapping[str, Any]) -> str:
    """What an adaptive breaker has learned: the evidence and what opens, and the usual share of failures."""
    usual = learned["usual"]
    share = "" if usual is None else f" ({usual:.0%} usual)"
    return f"{learned['evidence']:.0f}/{learned['threshold']:.0f}{share}"


def _counted(failures: int, slow: int, trip: Mapping[str, Any]) -> str:
    """The counts that a trip strategy goes by: failures, slow calls, or both; and its window."""
    strategies = trip.get("strategies", ())
    counts_slow = any(one["kind"] == "SlowCallRate" for one in strategies)
    if trip["kind"] == "SlowCallRate":
        return f"{slow} slow{_window(trip)}"
    if counts_slow:
        return f"{failures} failed {slow} slow"
    limit = f"/{trip['n']}" if "n" in trip else ""
    return f"{failures}{limit}{_window(trip)}" if "window" in trip else f"{failures}{limit} failed"


def _window(trip: Mapping[str, Any]) -> str:
    window = trip["window"]
    return (
        f" in {window['last_calls']} calls" if "last_calls" in window else f" in {window['last_seconds']:g} s"
    )


def columns_for_width(columns: Columns, width: int, *numbers: str) -> tuple[Table, list[bool]]:
    """An empty table with the columns that fit into `width`, and for each column whether it fits.

    The last column takes the remaining width. Longer cells end in an ellipsis. numbers: the headings of
    columns that are aligned right.
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
