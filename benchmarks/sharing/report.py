"""The sharing's figures: tables, goals, a model of the store's load and its picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import SPEED, verdict
from benchmarks.sharing.traffic import ServerCounters

ALONE, HEALTHY, HUNG = "not shared", "shared, Valkey answers", "shared, Valkey hangs"
MODELLED = ((100, 10), (1000, 10), (1000, 100), (10_000, 100))


class Load(NamedTuple):
    """What so many instances with so many breakers each cost the store in a second."""

    instances: int
    breakers: int
    found: ServerCounters


@dataclass(frozen=True)
class Result:
    """times: nanoseconds per call by case. loads: measured."""

    times: dict[str, float]
    loads: list[Load]

    def goals(self) -> list[tuple[str, float, str, float]]:
        """(comparison in words, value reached, "<=" or ">=", goal) of each goal."""
        alone = self.times[ALONE]
        return [
            ("a call, shared / not shared", self.times[HEALTHY] / alone, "<=", 1.05),
            ("the same while Valkey hangs", self.times[HUNG] / alone, "<=", 1.05),
        ]

    def model(self) -> tuple[ServerCounters, ServerCounters]:
        """The cost of one report, and that of one more instance: least squares through the origin."""
        return tuple(  # type: ignore[return-value]
            ServerCounters(*column) for column in zip(*(self._fit(field) for field in range(5)), strict=True)
        )

    def _fit(self, field: int) -> tuple[float, float]:
        rows = [(one.instances * one.breakers, one.instances, one.found[field]) for one in self.loads]
        xx, xy, yy = (sum(a * b for a, b in pairs) for pairs in _products(rows))
        xz, yz = sum(x * z for x, _, z in rows), sum(y * z for _, y, z in rows)
        determinant = xx * yy - xy * xy
        return (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant

    def predicted(self, instances: int, breakers: int) -> ServerCounters:
        """The load of a fleet that wasn't measured."""
        report, instance = self.model()
        return ServerCounters(
            *(instances * breakers * a + instances * b for a, b in zip(report, instance, strict=True))
        )


def _products(rows: list[tuple[int, int, float]]) -> list[list[tuple[float, float]]]:
    return [
        [(x, x) for x, _, _ in rows],
        [(x, y) for x, y, _ in rows],
        [(y, y) for _, y, _ in rows],
    ]


def table(result: Result) -> str:
    """The figures and goals as Markdown tables."""
    lines = ["| | ns per call |", "|---|---|"]
    lines += [f"| {name} | {time:.0f} |" for name, time in result.times.items()]
    lines += ["", "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in result.goals():
        lines.append(f"| {name} {comparison} {goal:g} | {value:.2f} | {verdict(value, comparison, goal)} |")
    lines += [
        "",
        "The store's load per second, every breaker closed and in use:",
        "",
        "| instances | breakers each | | reports | kB in | kB out | ms of the server's thread |",
        "|---|---|---|---|---|---|---|",
    ]
    loads = [(*one[:2], "measured", one.found) for one in result.loads]
    loads += [(*one, "modelled", result.predicted(*one)) for one in MODELLED]
    for instances, breakers, how, found in loads:
        lines.append(
            f"| {instances:,} | {breakers} | {how} | {found.exchanges:,.0f} | {found.received / 1000:,.0f} "
            f"| {found.sent / 1000:,.0f} | {found.busy * 1000:,.0f} |"
        )
    return "\n".join([*lines, ""])


def report(result: Result, *, write: bool) -> None:
    """Print the tables. write: also write them and the picture to docs/reference/speed."""
    text = table(result)
    print(text)
    if write:
        picture(result, SPEED / "sharing.svg")
        (SPEED / "sharing.md").write_text(
            f"# Cost of sharing\n\n`uv run just bench shared --write` writes this page. [Shared breakers]"
            f"(../../explanation/sharing.md#scale) explains it.\n\n![](sharing.svg)\n\n{text}",
            encoding="utf-8",
        )


def picture(result: Result, path: Path) -> None:
    """Write an SVG: reports and the server's time over instances, measured points on modelled lines."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sharing"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    sizes = [1, 10, 50, 100, 1000, 10_000]
    for breakers, color in ((1, "#6b7f99"), (4, "#8a6d3b"), (10, "#2a7f62"), (100, "#c2452d")):
        lines = [result.predicted(size, breakers) for size in sizes]
        points = [one for one in result.loads if one.breakers == breakers]
        label = f"{breakers} breaker{'s' * (breakers > 1)} each"
        left.plot(sizes, [(one.received + one.sent) / 1e6 for one in lines], color=color, label=label)
        right.plot(sizes, [one.busy for one in lines], color=color)
        where = [one.instances for one in points]
        left.plot(where, [(one.found.received + one.found.sent) / 1e6 for one in points], "o", color=color)
        right.plot(where, [one.found.busy for one in points], "o", color=color)
    left.set_ylabel("MB a second, in and out")
    right.set_ylabel("seconds of the server's thread a second")
    right.axhline(1.0, color="#999999", linestyle="--", linewidth=1)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("instances (points: measured, lines: modelled)")
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.suptitle("What sharing costs the store")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
