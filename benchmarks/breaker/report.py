"""The breaker's figures: a table, a picture, and the verdict on each goal."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import SPEED, verdict

BARE, PASS, DECORATOR, EXECUTE = "bare await", "pass-through decorator", "ours: decorator", "ours: execute"
TIMED = "ours: execute, durations kept"
OWN = (BARE, PASS, DECORATOR, EXECUTE, TIMED)


@dataclass(frozen=True)
class Result:
    """The figures of one run.

    closed, opened, failing: nanoseconds per call by case. concurrent, spread: ratios. size: bytes.
    """

    closed: dict[str, float]
    opened: dict[str, float]
    failing: dict[str, float]
    concurrent: float
    spread: float
    size: float

    def goals(self) -> list[tuple[str, float, str, float]]:
        """(comparison in words, value reached, "<=" or ">=", goal) of each goal."""
        closed, opened = self.closed, self.opened
        fastest = min(time for name, time in closed.items() if name in self.peers)
        fastest_open = min(time for name, time in opened.items() if name in self.peers)
        ours_open = min(opened[DECORATOR], opened[EXECUTE])
        return [
            ("decorator / bare await", closed[DECORATOR] / closed[BARE], "<=", 2.7),
            ("decorator / pass-through", closed[DECORATOR] / closed[PASS], "<=", 1.05),
            ("execute / bare await", closed[EXECUTE] / closed[BARE], "<=", 2.9),
            ("fastest peer / decorator", fastest / closed[DECORATOR], ">=", 1.5),
            ("fastest peer / execute", fastest / closed[EXECUTE], ">=", 1.4),
            ("OPEN: fastest peer / ours", fastest_open / ours_open, ">=", 1.6),
            ("1,000 callers / trio's own floor", self.concurrent, "<=", 1.15),
            ("10,000 breakers / 100 breakers", self.spread, "<=", 1.8),
            ("bytes a breaker", self.size, "<=", 5000),
        ]

    @property
    def peers(self) -> list[str]:
        """The names of the peers, the fastest first."""
        return sorted(self.closed.keys() - set(OWN), key=self.closed.__getitem__)


def table(result: Result) -> str:
    """The figures and goals as Markdown tables."""
    bare = result.closed[BARE]
    lines = ["| | CLOSED, ns | x bare await | OPEN, ns |", "|---|---|---|---|"]
    for name in [*OWN, *result.peers]:
        opened = f"{result.opened[name]:.0f}" if name in result.opened else "-"
        lines.append(f"| {name} | {result.closed[name]:.0f} | {result.closed[name] / bare:.2f} | {opened} |")
    lines += ["", "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in result.goals():
        lines.append(f"| {name} {comparison} {goal:g} | {value:.2f} | {verdict(value, comparison, goal)} |")
    failing = ", ".join(f"{name} {time:.0f} ns" for name, time in result.failing.items())
    return "\n".join([*lines, "", f"A failing call, counted before it returns: {failing}.", ""])


def report(result: Result, *, write: bool) -> None:
    """Print the tables. write: also write them and the picture to docs/reference/speed."""
    text = table(result)
    version = f"CPython {platform.python_version()}"
    print(version, text, sep="\n\n")
    if write:
        name = f"cpython-{sys.version_info.major}.{sys.version_info.minor}"
        picture(result, SPEED / f"{name}.svg", version)
        (SPEED / f"{name}.md").write_text(
            f"# Speed on {version}\n\n![]({name}.svg)\n\n{text}", encoding="utf-8"
        )


def picture(result: Result, path: Path, version: str) -> None:
    """Write an SVG of horizontal bars: CLOSED and OPEN of every breaker."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    names = [*OWN, *result.peers]
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    rows = range(len(names))
    axes.barh(
        [row - 0.2 for row in rows], [result.closed[n] for n in names], 0.4, label="CLOSED", color="#2a7f62"
    )
    axes.barh(
        [row + 0.2 for row in rows],
        [result.opened.get(n, 0) for n in names],
        0.4,
        label="OPEN",
        color="#c2452d",
    )
    axes.set_yticks(list(rows), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("nanoseconds a call, logarithmic")
    axes.set_title(f"What a breaker adds to a call ({version})")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
