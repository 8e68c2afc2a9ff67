"""The gateway's figures: a table, a picture, and the verdict on each goal."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.wrk import Round
from benchmarks.report import SPEED, verdict

FASTAPI, FASTAPI_100 = "FastAPI gateway", "FastAPI, 100 connections"
OURS, TWO = "ours", "ours, 2 workers"
NGINX, HYPERCORN = "nginx", "Hypercorn as it comes"
SERVER, FLOOR, BEFORE = "our server by itself", "the thinnest proxy", "before"
RATIOS = {1: 1.4, 16: 2.5, 64: 8.0, 256: 12.0}
"""Goals by number of connections: the gateway's requests per second divided by the FastAPI gateway's."""
COLOURS = {
    OURS: "#2a7f62",
    TWO: "#7fb89f",
    FASTAPI: "#c2452d",
    FASTAPI_100: "#e0a090",
    NGINX: "#3b6ea5",
    SERVER: "#4a4a4a",
    FLOOR: "#8c6bb1",
    HYPERCORN: "#a8a8a8",
    BEFORE: "#c9a227",
}

HEAD = """\
# Speed of the gateway

Written by `just bench gateway --write`. wrk sends requests on one thread over the loopback; the upstream is
an nginx that returns the same 31 bytes to every request. Each figure is the median of {rounds} rounds of
{seconds} s; every round measures every subject once. All processes share {cores} cores. Compare only ratios
within this page.

- **ours** is `python -m gateway` on a route without tokens: request id, rate limit by address, forwarded
  fields, breaker with durations, everything streamed both ways, one JSON line in the log for each request.
- **FastAPI gateway** is `benchmarks/gateway/fastapi_gateway.py`: FastAPI, uvicorn (uvloop, httptools), one
  httpx client with at most 1,000 connections, one purgatory breaker, uvicorn's access log. It buffers bodies.
- **FastAPI, 100 connections** is the same with httpx's own limits: at most 100 connections, 20 of them kept.
- **nginx** is one process that proxies over kept connections, unbuffered, with its access log.
- **the thinnest proxy** uses the gateway's server and its connections to services, and nothing else: no
  breaker, tokens, limits, header rules or log. The difference between it and **ours** is the cost of these.
- **our server by itself** and **Hypercorn as it comes** answer without a proxy.
"""


@dataclass(frozen=True)
class Result:
    """cells: by subject and connections. breaker: seconds per guarded call. seconds: length of a round."""

    cells: dict[str, dict[int, Round]]
    breaker: float
    rounds: int
    seconds: int

    def goals(self) -> list[tuple[str, float, str, float]]:
        """(comparison in words, value reached, "<=" or ">=", goal) of each goal."""
        found: list[tuple[str, float, str, float]] = []
        mine, theirs, two = (self.cells.get(name, {}) for name in (OURS, FASTAPI, TWO))
        for count, goal in RATIOS.items():
            if count in mine and count in theirs:
                ratio = mine[count].rate / theirs[count].rate
                found.append((f"ours / FastAPI gateway, {count} connections", ratio, ">=", goal))
        if mine:
            amiss = sum(cell.timeouts + cell.errors for cell in mine.values())
            found.append(("time-outs and errors of ours", amiss, "<=", 0))
            share = max(self.breaker * 1e6 / cell.cpu for cell in mine.values()) * 100
            found.append(("the breaker's share of a proxied request, %", share, "<=", 1))
        found += self._against_floor_and_before()
        busy = [count for count in mine if count in two and count >= 16]
        if busy:
            ratio = statistics.median(two[count].rate / mine[count].rate for count in busy)
            found.append(("2 workers / 1, median over 16 to 256 connections", ratio, ">=", 1.6))
        return found

    def _against_floor_and_before(self) -> list[tuple[str, float, str, float]]:
        found: list[tuple[str, float, str, float]] = []
        mine, floor, before = (self.cells.get(name, {}) for name in (OURS, FLOOR, BEFORE))
        small = self.cells.get(FASTAPI_100, {})
        if 64 in mine and 64 in small:
            ratio = mine[64].rate / small[64].rate
            found.append(("ours / FastAPI gateway with httpx's own limits, 64 connections", ratio, ">=", 2.5))
        both = [count for count in mine if count in floor]
        if both:
            ratio = statistics.median(mine[count].rate / floor[count].rate for count in both)
            found.append(("ours / the thinnest proxy, median", ratio, ">=", 0.5))
        for count in (count for count in mine if count in before):
            rate, cpu = mine[count].rate / before[count].rate, mine[count].cpu / before[count].cpu
            found.append((f"ours / before, {count} connections", rate, ">=", 0.85))
            found.append((f"CPU a request of ours / before, {count} connections", cpu, "<=", 1.15))
        return found


def table(result: Result) -> str:
    """The figures and goals as Markdown tables."""
    lines = [
        "| connections | | requests/s | p50, ms | p99, ms | errors | time-outs | CPU, µs a request |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in sorted({count for cells in result.cells.values() for count in cells}):
        for name, cells in result.cells.items():
            cell = cells[count]
            # The workers use the CPU time, and only their parent is measured.
            cpu = "-" if name in (TWO, HYPERCORN) else f"{cell.cpu:.0f}"
            lines.append(
                f"| {count} | {name} | {cell.rate:,.0f} | {cell.p50:.1f} | {cell.p99:.1f}"
                f" | {cell.errors} | {cell.timeouts} | {cpu} |"
            )
    lines += ["", "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in result.goals():
        lines.append(f"| {name} {comparison} {goal:g} | {value:.2f} | {verdict(value, comparison, goal)} |")
    last = f"A guarded call that does nothing takes {result.breaker * 1e6:.2f} µs."
    return "\n".join([*lines, "", last, "", *_without_room(result)])


def _without_room(result: Result) -> list[str]:
    """The ratios to the FastAPI gateway with 100 connections, the faster one of the two at some loads."""
    mine, theirs = result.cells.get(OURS, {}), result.cells.get(FASTAPI_100, {})
    found = [f"{mine[n].rate / theirs[n].rate:.1f} at {n}" for n in mine if n in theirs]
    if not found:
        return []
    return [f"Against the FastAPI gateway with httpx's own limits the ratios are {', '.join(found)}.", ""]


def report(result: Result, *, write: bool) -> None:
    """Print the tables. write: also write them and the picture to docs/reference/speed."""
    text = table(result)
    version = f"CPython {platform.python_version()}, {os.cpu_count()} cores"
    print(version, text, sep="\n\n")
    if write:
        SPEED.mkdir(exist_ok=True)
        picture(result, SPEED / "gateway.svg", version)
        head = HEAD.format(cores=os.cpu_count(), rounds=result.rounds, seconds=result.seconds)
        page = f"{head}\n{version}.\n\n![](gateway.svg)\n\n{text}"
        (SPEED / "gateway.md").write_text(page, encoding="utf-8")


def picture(result: Result, path: Path, version: str) -> None:
    """Write an SVG of throughput and p99 by number of connections, all axes logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (rates, waits) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name, cells in result.cells.items():
        counts = sorted(cells)
        width = 2.5 if name == OURS else 1.5
        style = {"label": name, "color": COLOURS[name], "marker": "o", "linewidth": width}
        rates.plot(counts, [cells[count].rate for count in counts], **style)
        waits.plot(counts, [cells[count].p99 for count in counts], **style)
    for axes, title in ((rates, "requests a second"), (waits, "p99, milliseconds")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(list(RATIOS), [str(count) for count in RATIOS])
        axes.set_xlabel("client connections")
        axes.set_title(title)
        axes.grid(visible=True, which="major", alpha=0.3)
    rates.legend(fontsize=8)
    figure.suptitle(f"One small proxied request ({version})", fontsize=10)
    figure.savefig(path)
