"""`just watch`: the breakers live in a terminal, from the event stream of the dashboard."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import compress
from typing import Any

import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.config import LOOPBACK, StackConfig, StackError
from deploy.terminal.formatting import (
    STYLES,
    begin_of_state,
    columns_for_width,
    duration,
    failure_meter,
    time_of_day,
)
from runtime.admin.history import BUCKET_SECONDS, Report, merge_reports
from runtime.observability.printable import printable

STREAM_TIMEOUT = 4.0
"""Seconds without an event until the connection counts as lost; the gateway sends one per second."""
RECONNECT_SECONDS = 1.0
BARS = "▁▂▃▄▅▆▇█"
GRAPH_SECONDS = 300
MOST_CHANGES = 6
# The smaller the last number, the narrower the terminals that still show the column.
COLUMNS = (
    ("breaker", 20, 0),
    ("state", 11, 0),
    ("for", 11, 54),
    ("to trip", 18, 123),
    ("probe", 6, 41),
    ("5 minutes", 30, 155),
    ("/min", 5, 103),
    ("failed", 6, 86),
    ("rejected", 8, 96),
    ("why", 20, 78),
)
MEANINGS = {
    "for": "time in this state, of OPEN the whole outage",
    "to trip": "failures that count now, and their limit or window",
    "probe": "time until the next probe",
    "5 minutes": "calls, a bar for 10 s, red if one failed",
    "/min": "calls in the last minute",
    "failed": "in the last 5 minutes",
    "rejected": "in the last 5 minutes",
}
"""What a column covers, by its heading."""
NUMBERS = ("/min", "failed", "rejected")


class LiveView:
    """The latest reports of the stream, and their rendering for a terminal.

    lost_at: Unix seconds at which the connection was lost; None while it is there.
    """

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self.names: list[tuple[str, str]] = []
        self.lost_at: float | None = None
        self._reports: dict[str, Report] = {}
        self._starts: dict[str, list[float]] = {}
        self._unanswered: set[str] = set()

    def apply(self, kind: str, data: Mapping[str, Any]) -> None:
        """Apply one event of the stream."""
        self.lost_at = None
        if kind == "hello":
            self.names = [
                (name, owner)
                for one in data["services"]
                for name, owner in [
                    (one["breaker"], data["gateway"]),
                    *((dependency, one["process"]) for dependency in one["dependencies"]),
                ]
            ]
        elif kind == "report":
            self._report(data)

    def _report(self, report: Mapping[str, Any]) -> None:
        process = report["process"]
        # A list of all starts that the gateway has seen; the first is no restart.
        self._starts[process] = report.get("starts", [])
        if not report["answers"]:
            self._unanswered.add(process)
            return
        self._unanswered.discard(process)
        known = self._reports.get(process)
        joined = merge_reports(known, {**report})
        # A report contains the changed breakers only.
        breakers = {one["name"]: one for part in (known, joined) if part for one in part["breakers"]}
        self._reports[process] = {**joined, "breakers": list(breakers.values())}

    def breakers(self) -> Iterator[tuple[str, str, Report | None]]:
        """(name, owner, latest report or None) of each breaker, in the order of the stream's `hello`."""
        found = {one["name"]: one for report in self._reports.values() for one in report["breakers"]}
        for name, owner in self.names:
            yield name, owner, None if owner in self._unanswered else found.get(name)

    def render(self, now: float, width: int = 170, height: int = 100) -> RenderableType:
        """The view at Unix time `now` for a terminal of that size: breakers, and below them what changed."""
        if not self.names:
            return Text(f"Waiting for the gateway at {self._gateway}: `uv run just status` shows what runs.")
        parts: list[RenderableType] = []
        if self.lost_at is not None:
            since = time_of_day(self.lost_at)
            message = f"Disconnected since {since}: this is the last state received. Reconnecting."
            parts.append(Text(message, style="bold red", no_wrap=True, overflow="ellipsis"))
        table = self.table(now, width)
        room = height - len(parts) - table.row_count
        table.show_header = room > 0
        parts.append(table)
        if room > 2:  # below the heading and an empty line
            changes = self._changes(min(MOST_CHANGES, room - 2))
            parts += [Text(), *changes]
            legend = _legend(width)
            if room - 2 - len(changes) > len(legend):
                parts += [Text(), *legend]
        return Group(*parts)

    def table(self, now: float, width: int) -> Table:
        """One row per breaker, with the columns that fit into `width`."""
        table, fits = columns_for_width(COLUMNS, width, *NUMBERS)
        for name, owner, breaker in self.breakers():
            table.add_row(*compress(_unknown(name, owner) if breaker is None else _cells(breaker, now), fits))
        return table

    def _changes(self, most: int) -> list[Text]:
        """The latest transitions and restarts, one line each, the latest first."""
        found = [
            (one["time"], one["breaker"], one["new"], one["reason"])
            for report in self._reports.values()
            for breaker in report["breakers"]
            for one in breaker["transitions"]
        ]
        found += [
            (time, process, "RESTARTED", "started again with closed breakers")
            for process, starts in self._starts.items()
            for time in starts[1:]
        ]
        lines = [_change(*one) for one in sorted(found, key=lambda one: one[0], reverse=True)[:most]]
        return lines or [Text("No breaker has changed its state lately.", style="dim")]


def _change(when: float, name: str, became: str, reason: str) -> Text:
    return Text.assemble(
        (time_of_day(when), "dim"),
        f"  {name:<21} ",
        (f"{became:<12}", STYLES.get(became, "")),
        printable(reason),
        no_wrap=True,
        overflow="ellipsis",
    )


def _legend(width: int) -> list[Text]:
    """What the columns that fit into `width` cover, in lines of at most that width."""
    words = [f"{name}: {MEANINGS[name]}" for name, _, least in COLUMNS if name in MEANINGS and width >= least]
    lines: list[str] = []
    for one in words:
        if lines and len(lines[-1]) + len(one) + 3 <= width:
            lines[-1] += f" · {one}"
        else:
            lines.append(one)
    return [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines]


def _unknown(name: str, owner: str) -> list[RenderableType]:
    return [name, Text("UNKNOWN", "dim"), *[""] * 7, Text(f"{owner} doesn't answer", "dim")]


def _cells(breaker: Report, now: float) -> list[RenderableType]:
    state, style = breaker["state"], STYLES.get(breaker["state"], "")
    probe = breaker["probe_at"]
    wait = "" if state != "OPEN" or probe is None else f"{max(0, probe - now):.0f} s"
    counts = _counts(breaker, now - GRAPH_SECONDS)
    why = "" if state == "CLOSED" else breaker["reason"] or ""
    if state == "OPEN" and breaker["last_failure"]:
        why += f": {breaker['last_failure']}"
    return [
        breaker["name"],
        Text(state, style),
        duration(now - begin_of_state(state, breaker["since"], breaker["outage_since"])),
        failure_meter(breaker),
        wait,
        _graph(breaker, now),
        str(sum(_counts(breaker, now - 60))),
        _number(counts[1], "red"),
        _number(counts[4], "yellow"),
        Text(printable(why), "dim"),
    ]


def _number(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")


def _counts(breaker: Report, since: float) -> list[int]:
    """The calls since then: [succeeded, failed, ignored, cancelled, rejected]."""
    recent = [bucket for bucket in breaker["calls_by_time"] if bucket[0] + BUCKET_SECONDS > since]
    return [sum(bucket[place] for bucket in recent) for place in range(1, 6)]


def _graph(breaker: Report, now: float) -> Text:
    """One bar per 10 s. Height: number of calls. Red: some failed. Yellow: some were rejected."""
    step = 2 * BUCKET_SECONDS
    end = int(now) // step * step + step
    bars: dict[int, list[int]] = {}
    for bucket in breaker["calls_by_time"]:
        sums = bars.setdefault(bucket[0] // step * step, [0, 0, 0])
        sums[0] += sum(bucket[1:])
        sums[1] += bucket[2]
        sums[2] += bucket[5]
    shown = [bars.get(start, [0, 0, 0]) for start in range(end - GRAPH_SECONDS, end, step)]
    most = max(5, *(total for total, _, _ in shown))
    text = Text()
    for total, failed, rejected in shown:
        style = "red" if failed else "yellow" if rejected else "green"
        text.append(BARS[min(7, total * 8 // most)] if total else " ", style)
    return text


def watch(config: StackConfig) -> None:
    """Show the breakers until interrupted, then print the last state. Reconnects if the connection is lost.

    Raises StackError if the output isn't a terminal.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        raise StackError(
            "`uv run just watch` needs a terminal; `uv run just health` prints the state once, as JSON"
        )
    view = LiveView(config.gateway)
    try:
        # The alternate screen: in a scrolling one, every resize would leave an old view behind.
        with Live(console=console, auto_refresh=False, screen=True) as live:
            _follow(config, view, live)
    finally:
        console.print(view.render(time.time(), console.width))


def _follow(config: StackConfig, view: LiveView, live: Live) -> None:
    def show() -> None:
        size = live.console.size
        live.update(view.render(time.time(), size.width, size.height), refresh=True)

    while True:
        try:
            for kind, data in _stream(config):
                view.apply(kind, data)
                show()
        except (httpx.HTTPError, ValueError):
            pass
        view.lost_at = view.lost_at or time.time()
        show()
        time.sleep(RECONNECT_SECONDS)


def _headers() -> dict[str, str]:
    """The token that gets one of the places kept for admins, if this shell has it."""
    token = os.environ.get("ADMIN_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _stream(config: StackConfig) -> Iterator[tuple[str, Any]]:
    """The events of the gateway's stream. Raises httpx.HTTPError if it ends, or after STREAM_TIMEOUT."""
    with httpx.stream(
        "GET", f"{config.operations}/dashboard/events", timeout=STREAM_TIMEOUT, headers=_headers(), **LOOPBACK
    ) as response:
        response.raise_for_status()
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
