"""The cost of observing: tables, and the verdict on each goal."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.observing.observed import CALLS_A_SECOND
from benchmarks.report import SPEED, verdict

NONE, NONE_AGAIN = "not observed", "not observed, again"

Turns = dict[str, list[float]]
"""Figures by observer, one per round."""

HEAD = """\
# The cost of observing

Written by `just bench observing --write`. Every round has one turn per observer, and two turns without any
observer. Each turn is compared with one of these two; the other one shows the spread of this machine. A cost
within that spread isn't measurable here.

wrk sends requests over {connections} connections, as fast as they are answered, for {seconds} s per turn. The
gateway forwards them to an nginx with a small response, and reads the breakers of a process that calls them
{calls} times a second. All processes share {cores} cores. The calls in one process do nothing, so that the
cost of observing them shows most. The scraper scrapes once a second, Prometheus as configured every 15 s.
"""


@dataclass(frozen=True)
class Result:
    """The figures by observer.

    rest: percentages of a core without any requests. rates: requests per second. costs, calls, scrape,
    counting: processor time of a request in µs, of a call in one process in ns, of a scrape in ms, and of
    counting a request in ns.
    """

    rest: dict[str, float]
    rates: Turns
    costs: Turns
    calls: Turns
    scrape: float
    counting: float
    seconds: int
    connections: int

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return len(self.rates[NONE])

    def goals(self) -> list[tuple[str, float, str, float]]:
        """(comparison in words, value reached, "<=" or ">=", goal) of each goal."""
        slowest, _, _ = quartiles(ratios(self.rates, NONE_AGAIN))
        observers = [name for name in self.rates if name not in (NONE, NONE_AGAIN)]
        found = [
            (f"requests, {name} / not observed", statistics.median(ratios(self.rates, name)), ">=", slowest)
            for name in observers
        ]
        found += [
            (f"of a core at rest, {name} - not observed, %", self.rest[name] - self.rest[NONE], "<=", 2.0)
            for name in observers
        ]
        scraped = statistics.median(ratios(self.calls, "a scrape a second"))
        return [*found, ("a call, a scrape a second / not observed", scraped, "<=", 1.02)]


def ratios(turns: Turns, name: str) -> list[float]:
    """Each turn of `name` divided by the turn of the same round that isn't observed."""
    return [one / base for one, base in zip(turns[name], turns[NONE], strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile. A single value is all three."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def table(result: Result) -> str:
    """The figures and goals as Markdown tables."""
    lines = [
        "| requests | at rest, % of a core | a second | x not observed (quartiles) | CPU, µs each | x |",
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
    lines += [
        "",
        "| calls in one process | CPU, ns a call | x not observed (quartiles) |",
        "|---|---|---|",
    ]
    for name, times in result.calls.items():
        lines.append(f"| {name} | {statistics.median(times):,.0f} | {_spread(ratios(result.calls, name))} |")
    lines += ["", "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in result.goals():
        lines.append(f"| {name} {comparison} {goal:.3f} | {value:.3f} | {verdict(value, comparison, goal)} |")
    last = (
        f"A scrape of three breakers takes {result.scrape:.1f} ms of processor time. Counting a request by\n"
        f"route, method, status and duration takes {result.counting:,.0f} ns. {result.rounds} rounds."
    )
    return "\n".join([*lines, "", last, ""])


def _spread(values: Sequence[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def report(result: Result, *, write: bool) -> None:
    """Print the tables. write: also write them to docs/reference/speed."""
    text = table(result)
    version = f"CPython {platform.python_version()}, {os.cpu_count()} cores"
    print(version, text, sep="\n\n")
    if write:
        known = {"connections": result.connections, "seconds": result.seconds}
        head = HEAD.format(cores=os.cpu_count(), calls=CALLS_A_SECOND, **known)
        (SPEED / "observing.md").write_text(f"{head}\n{version}.\n\n{text}", encoding="utf-8")
