"""Tables and pictures of the scores, and the verdict on each goal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.report import DOCS, verdict

from .traces import SCALES, TRACES

OURS, SEED, SEMIAN = "Adaptive()", "5 failures, 60 s", "semian PID"
HINDSIGHT = "constants, best in hindsight"
HEALTHY = [trace.name for trace in TRACES if trace.healthy]

HEAD = """\
# Adaptive thresholds: the scores

Written by `just bench adaptive --write`, from a simulation with the same dice for all policies, on seeds that
were not used to choose any default. [What is simulated, and how a score is made](../explanation/adaptive.md).
Points; less is better. 0 is a judge who knows the share that fails at each moment.

![](adaptive.svg)
"""


def by_prefix(found: dict[str, Any], prefix: str) -> dict[str, dict[str, float]]:
    """The figures of the policy whose name begins with `prefix`."""
    return next(one for name, one in found.items() if name.startswith(prefix))


def total(found: dict[str, dict[str, float]]) -> float:
    """The total score."""
    return sum(one["score"] for one in found.values())


def goals(known: dict[str, Any]) -> list[tuple[str, float, str, float]]:
    """(comparison in words, value reached, "<=" or ">=", goal) of each goal."""
    found = []
    rates = known["rates"]
    for rate, rival, words, goal in (
        ("5", SEMIAN, "semian's PID", 0.75),
        ("50", SEMIAN, "semian's PID", 0.75),
        ("50", SEED, "5 failures, 60 s", 0.75),
        ("5", SEED, "5 failures, 60 s", 0.85),
        ("50", HINDSIGHT, "the best constants in hindsight", 0.85),
        ("5", HINDSIGHT, "the best constants in hindsight", 1.0),
    ):
        if rate in rates:
            value = total(rates[rate][OURS]) / total(by_prefix(rates[rate], rival))
            found.append((f"total score at {rate} a second ÷ {words}", value, "<=", goal))
    for rate, one in rates.items():
        lost = max(one[OURS][name]["good lost"] for name in HEALTHY)
        found.append(
            (f"% of good calls lost on a healthy trace, the worst, at {rate} a second", lost, "<=", 0.5)
        )
    scenes = known["scenes"]
    found += [
        ("% rejected for a blip of 0.14 % at 840 a second", scenes["blip"], "<=", 0.14),
        ("% admitted from 1 s after an outage of 60 s at 5,000 a second", scenes["healing"], ">=", 99.0),
        ("cost of a call ÷ with a window of seconds", scenes["cost"], "<=", 1.5),
        ("failing calls that open at 0.1 a second", scenes["rare"], "<=", 7),
    ]
    return found


def tables(known: dict[str, Any]) -> str:
    """The goals, the totals, and a table for each rate."""
    lines = [HEAD, "| goal | reached | |", "|---|---|---|"]
    for name, value, comparison, goal in goals(known):
        lines.append(f"| {name} {comparison} {goal:g} | {value:.3g} | {verdict(value, comparison, goal)} |")
    blip = known["scenes"]["blip, 5 failures, 60 s"]
    lines += ["", f"The same blip costs {blip:.1f} % rejections with five failures and 60 s.", ""]
    left_out = [f"{rate:g}" for rate in SCALES if f"{rate:g}" not in known["rates"]]
    if left_out:
        lines += [f"Not scored in this run: {', '.join(left_out)} a second.", ""]
    for rate, found in known["rates"].items():
        scale = SCALES[float(rate)]
        scaled = "" if scale == 1 else f", all times of the traces × {scale:g}"
        lines += [f"## {rate} a second{scaled}", "", *_rate(found), "", *_details(found), ""]
    return "\n".join(lines)


def _rate(found: dict[str, Any]) -> list[str]:
    names = list(found)
    lines = ["| trace | " + " | ".join(name.partition(":")[0] for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for trace in TRACES:
        best = min(found[name][trace.name]["score"] for name in names if not name.startswith("oracle"))
        cells = []
        for name in names:
            value = found[name][trace.name]["score"]
            cells.append(f"**{value:.1f}**" if value <= best + 0.05 else f"{value:.1f}")
        lines.append(f"| {trace.name} | " + " | ".join(cells) + " |")
    lines.append("| total | " + " | ".join(f"{total(found[name]):.0f}" for name in names) + " |")
    if "none" not in found:
        lines += ["", "Only these policies were scored at this rate."]
    chosen = [name for name in names if name.startswith("constants")]
    if chosen:
        lines += ["", "; ".join(chosen).capitalize() + "."]
    return lines


def _details(found: dict[str, Any]) -> list[str]:
    """Ours in detail."""
    lines = [
        "| `Adaptive()` | good calls lost, % | bad calls sent, % of all | seconds to detect | to recover |",
        "|---|---|---|---|---|",
    ]
    for trace in TRACES:
        one = found[OURS][trace.name]
        lines.append(
            f"| {trace.name} | {one['good lost']:.2f} | {one['bad sent']:.2f} | {one['detect']:.1f} "
            f"| {one['recover']:.1f} |"
        )
    return lines


def report(known: dict[str, Any], *, write: bool) -> None:
    """Print the tables. write: also write them and the picture to docs/reference."""
    text = tables(known)
    print(text)
    if write:
        (DOCS / "adaptive.md").write_text(text, encoding="utf-8")
        picture(known, DOCS / "adaptive.svg")


def picture(known: dict[str, Any], path: Path) -> None:
    """Write an SVG: the total score of every policy, by rate."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "adaptive"
    from matplotlib import pyplot as plt

    rates = sorted(known["rates"], key=float)
    figure, axes = plt.subplots(1, len(rates), figsize=(12, 4), layout="constrained", sharey=True)
    for place, rate in zip(axes if len(rates) > 1 else [axes], rates, strict=True):
        found = known["rates"][rate]
        names = list(found)
        colours = ["#2a7f62" if name == OURS else "#c2452d" for name in names]
        labels = [name.partition(":")[0] for name in names]
        place.barh(labels, [total(found[name]) for name in names], color=colours)
        place.set_title(f"{rate}/s")
        place.spines[["top", "right"]].set_visible(False)
    axes_first = axes[0] if len(rates) > 1 else axes
    axes_first.invert_yaxis()
    figure.supxlabel("total score over all traces; less is better")
    figure.savefig(path, metadata={"Date": None})
