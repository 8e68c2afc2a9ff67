"""`just watch`: the breakers live in a terminal, from the stream that feeds the dashboard."""

from __future__ import annotations

import json
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
from deploy.terminal.formatting import STYLES, columns_for_width, duration, failure_meter, when
from runtime.admin.history import BUCKET_SECONDS, Report, merge_reports
from runtime.observability.printable import printable

SILENCE = 4.0
"""Seconds without a word, though one comes each second: the gateway is away."""
PAUSE = 1.0
SPARKS = "▁▂▃▄▅▆▇█"
SPAN = 300
EVENTS = 6
# What matters most is there on every terminal.
COLUMNS = (
    ("breaker", 20, 0),
    ("state", 11, 0),
    ("for", 11, 73),
    ("to trip", 10, 116),
    ("probe", 6, 41),
    ("5 minutes", 30, 148),
    ("/min", 5, 104),
    ("failed", 6, 49),
    ("rejected", 8, 59),
    ("why", 20, 97),
)
NUMBERS = ("/min", "failed", "rejected")


class LiveView:
    """What the stream has told, and how it looks."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self.names: list[tuple[str, str]] = []
        self.lost_at: float | None = None
        self._known: dict[str, Report] = {}
        self._silent: set[str] = set()

    def take(self, kind: str, data: Mapping[str, Any]) -> None:
        """One event of the stream."""
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

    def _report(self, news: Mapping[str, Any]) -> None:
        process = news["process"]
        if not news["answers"]:
            self._silent.add(process)
            return
        self._silent.discard(process)
        known = self._known.get(process)
        joined = merge_reports(known, {**news})
        # Only what has changed is told.
        breakers = {one["name"]: one for report in (known, joined) if report for one in report["breakers"]}
        self._known[process] = {**joined, "breakers": list(breakers.values())}

    def breakers(self) -> Iterator[tuple[str, str, Report | None]]:
        """(name, owner, what is known of it) in the order of the stream's cast."""
        found = {one["name"]: one for report in self._known.values() for one in report["breakers"]}
        for name, owner in self.names:
            yield name, owner, None if owner in self._silent else found.get(name)

    def shown(self, now: float, width: int = 170, height: int = 100) -> RenderableType:
        """Everything, for a terminal of that size: the breakers first; what happened where there is room."""
        if not self.names:
            return Text(f"Waiting for the gateway at {self._gateway}: `uv run just status` says what runs.")
        parts: list[RenderableType] = []
        if self.lost_at is not None:
            said = f"Disconnected since {when(self.lost_at)}: this is how it was then. Trying again."
            parts.append(Text(said, style="bold red", no_wrap=True, overflow="ellipsis"))
        table = self.table(now, width)
        room = height - len(parts) - table.row_count
        table.show_header = room > 0
        parts.append(table)
        if room > 2:  # below the heading and an empty line
            parts += [Text(), self._events(min(EVENTS, room - 2))]
        return Group(*parts)

    def table(self, now: float, width: int) -> Table:
        """A row for each breaker, with what fits into that width."""
        table, fits = columns_for_width(COLUMNS, width, *NUMBERS)
        for name, owner, breaker in self.breakers():
            table.add_row(*compress(_unknown(name, owner) if breaker is None else _cells(breaker, now), fits))
        return table

    def _events(self, most: int) -> RenderableType:
        events = [
            one for report in self._known.values() for breaker in report["breakers"]
            for one in breaker["transitions"]
        ]  # fmt: skip
        lines = [
            Text.assemble((when(one["time"]), "dim"), "  ", f"{one['breaker']:<21} ",
                          (f"{one['new']:<12}", STYLES.get(one["new"], "")), printable(one["reason"]),
                          no_wrap=True, overflow="ellipsis")
            for one in sorted(events, key=lambda one: one["time"], reverse=True)[:most]
        ]  # fmt: skip
        return Group(*lines) if lines else Text("No breaker has changed its state lately.", style="dim")


def _unknown(name: str, owner: str) -> list[RenderableType]:
    return [name, Text("UNKNOWN", "dim"), *[""] * 7, Text(f"{owner} doesn't answer", "dim")]


def _cells(breaker: Report, now: float) -> list[RenderableType]:
    state, style = breaker["state"], STYLES.get(breaker["state"], "")
    probe = breaker["probe_at"]
    wait = "" if state != "OPEN" or probe is None else f"{max(0, probe - now):.0f} s"
    counts = _counts(breaker, now - SPAN)
    why = "" if state == "CLOSED" else breaker["reason"] or ""
    if state == "OPEN" and breaker["last_failure"]:
        why += f": {breaker['last_failure']}"
    return [
        breaker["name"],
        Text(state, style),
        duration(now - (breaker["outage_since"] or breaker["since"])),
        failure_meter(breaker),
        wait,
        _spark(breaker, now),
        str(sum(_counts(breaker, now - 60))),
        _number(counts[1], "red"),
        _number(counts[4], "yellow"),
        Text(printable(why), "dim"),
    ]


def _number(count: int, style: str) -> Text:
    return Text(str(count), style if count else "dim")


def _counts(breaker: Report, since: float) -> list[int]:
    """[succeeded, failed, ignored, cancelled, rejected] since then."""
    recent = [bucket for bucket in breaker["calls_by_time"] if bucket[0] + BUCKET_SECONDS > since]
    return [sum(bucket[place] for bucket in recent) for place in range(1, 6)]


def _spark(breaker: Report, now: float) -> Text:
    """A bar for each ten seconds: its height the calls, its colour the worst that happened."""
    step = 2 * BUCKET_SECONDS
    end = int(now) // step * step + step
    bars: dict[int, list[int]] = {}
    for bucket in breaker["calls_by_time"]:
        sums = bars.setdefault(bucket[0] // step * step, [0, 0, 0])
        sums[0] += sum(bucket[1:])
        sums[1] += bucket[2]
        sums[2] += bucket[5]
    shown = [bars.get(start, [0, 0, 0]) for start in range(end - SPAN, end, step)]
    most = max(5, *(total for total, _, _ in shown))
    text = Text()
    for total, failed, rejected in shown:
        style = "red" if failed else "yellow" if rejected else "green"
        text.append(SPARKS[min(7, total * 8 // most)] if total else " ", style)
    return text


def watch(config: StackConfig) -> None:
    """Show the breakers until interrupted, and leave the last of it; goes on while the gateway is away.

    Raises StackError where nobody could see them change.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        raise StackError("`just watch` needs a terminal; `uv run just health` tells the same once, as JSON")
    board = LiveView(config.gateway)
    try:
        # A screen of its own: of what scrolls, a resized terminal would keep every size it had.
        with Live(console=console, auto_refresh=False, screen=True) as live:
            _follow(config, board, live)
    finally:
        console.print(board.shown(time.time(), console.width))


def _follow(config: StackConfig, board: LiveView, live: Live) -> None:
    def show() -> None:
        size = live.console.size
        live.update(board.shown(time.time(), size.width, size.height), refresh=True)

    while True:
        try:
            for kind, data in _stream(config):
                board.take(kind, data)
                show()
        except (httpx.HTTPError, ValueError):
            pass
        board.lost_at = board.lost_at or time.time()
        show()
        time.sleep(PAUSE)


def _stream(config: StackConfig) -> Iterator[tuple[str, Any]]:
    """The events of the gateway's stream. Raises httpx.HTTPError where it breaks off or falls silent."""
    with httpx.stream(
        "GET", f"{config.gateway}/dashboard/events", timeout=SILENCE, **LOOPBACK
    ) as answer:
        answer.raise_for_status()
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
