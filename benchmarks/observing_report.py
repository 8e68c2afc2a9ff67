"""What looking costs, as tables."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.observed import CALLS_A_SECOND
from benchmarks.report import DOCS, verdict

NOBODY, AGAIN = "nobody looks", "nobody looks, again"

Turns = dict[str, list[float]]
"""Figures by who looks, a list as long as there were rounds."""

HEAD = """\
# What looking costs

Written by `just bench observing --write`. Each way of looking has its turn in every round, and is compared
with the turn of the same round in which nobody looked. In each round nobody looks twice: the spread of that
second turn is what this machine can't tell apart, and a cost within it isn't measurable here.

The requests come from wrk with {connections} connections, as fast as they are answered, for {seconds} s a
turn; behind the gateway is an nginx with a small answer, and a process that tells the dashboard of its
breakers, which are called {calls} times a second. They, the gateway and all who look share {cores} cores.
The calls in one process do nothing, so that whatever is beside them shows most. A scrape a second is fifteen
times as often as Prometheus is told to come.
"""


@dataclass(frozen=True)
class Result:
    """What was found, by who looks.

    rest: percentages of a core while nobody calls. rates: requests a second. costs, calls, scrape: processor
    time of a request, of a call in one process and of a scrape, in micro-, nano- and milliseconds.
    """

    rest: dict[str, float]
    rates: Turns
    costs: Turns
    calls: Turns
    scrape: float
    seconds: int
    connections: int

    @property
    def rounds(self) -> int:
        """How many there were."""
        return len(self.rates[NOBODY])

    def goals(self) -> list[tuple[str, float, str, float]]:
        """What is compared, what was reached, the comparison, the goal."""
        slowest, _, _ = quartiles(ratios(self.rates, AGAIN))
        looking = [name for name in self.rates if name not in (NOBODY, AGAIN)]
        found = [
            (f"requests, {name} / nobody", statistics.median(ratios(self.rates, name)), ">=", slowest)
            for name in looking
        ]
        found += [
            (f"of a core at rest, {name} - nobody, %", self.rest[name] - self.rest[NOBODY], "<=", 2.0)
            for name in looking
        ]
        scraped = statistics.median(ratios(self.calls, "a scrape a second"))
        return [*found, ("a call, a scrape a second / nobody", scraped, "<=", 1.02)]


def ratios(turns: Turns, name: str) -> list[float]:
    """Each turn against that of the same round in which nobody looked."""
    return [one / base for one, base in zip(turns[name], turns[NOBODY], strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median, the upper one; of a single value three times that."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def table(result: Result) -> str:
    """The Markdown that goes into the documents."""
    lines = [
        "| requests | at rest, % of a core | a second | x nobody (quartiles) | CPU, µs each | x nobody |",
        "|---|---|---|---|---|---|",
    ]
    for name in result.rates:
        rate = statistics.median(result.rates[name])
        cost = statistics.median(result.costs[name])
        more = statistics.median(ratios(result.costs, name))
        lines.append(
            f"| {name} | {result.rest[name]:.1f} | {rate:,.0f} | {_spread(ratios(result.rates, name))}"
            f" | {cost:.0f} | {more:.3f} |"
        )
    lines += ["", "| calls in one process | CPU, ns a call | x nobody, median (quartiles) |", "|---|---|---|"]
    for name, times in result.calls.items():
        lines.append(f"| {name} | {statistics.median(times):,.0f} | {_spread(ratios(result.calls, name))} |")
    lines += ["", "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in result.goals():
        lines.append(f"| {name} {comparison} {goal:.3f} | {value:.3f} | {verdict(value, comparison, goal)} |")
    last = (
        f"A scrape of three breakers takes {result.scrape:.1f} ms of processor time. {result.rounds} rounds."
    )
    return "\n".join([*lines, "", last, ""])


def _spread(values: Sequence[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def report(result: Result, *, write: bool) -> None:
    """Print, and write where asked."""
    text = table(result)
    version = f"CPython {platform.python_version()}, {os.cpu_count()} cores"
    print(version, text, sep="\n\n")
    if write:
        known = {"connections": result.connections, "seconds": result.seconds}
        head = HEAD.format(cores=os.cpu_count(), calls=CALLS_A_SECOND, **known)
        (DOCS / "speed-observing.md").write_text(f"{head}\n{version}.\n\n{text}", encoding="utf-8")
