"""`python -m benchmarks.adaptive`: score all policies on held-out seeds; with --write, also write the report.

--rates runs only some rates, and takes the others from results.json, which --write keeps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from . import cost, policies, proofs
from .report import report
from .simulator import Cost, simulate
from .traces import SCALES, TRACES, Offered, draw

RESULTS = Path(__file__).parent / "results.json"
TUNING, HELD_OUT = 0, 1000
"""The first seed of each kind. The defaults of Adaptive were chosen with seeds below 100."""
SEEDS = {0.1: 6, 1.0: 6, 5.0: 6, 50.0: 3, 500.0: 2, 5000.0: 1}
"""By rate, how many seeds."""
MOST_TUNED = 50.0
"""Above this rate no constants are searched: it would take hours."""


def figures(costs: list[Cost]) -> dict[str, float]:
    """The means over the seeds."""
    many = len(costs)
    detect = [one for cost in costs for one in cost.detect]
    recover = [one for cost in costs for one in cost.recover]
    return {
        "score": sum(cost.score for cost in costs) / many,
        "good lost": 100 * sum(cost.good_lost for cost in costs) / max(1, sum(cost.good for cost in costs)),
        "bad sent": 100 * sum(cost.bad_sent for cost in costs) / sum(cost.offered for cost in costs),
        "detect": sum(detect) / len(detect) if detect else 0.0,
        "recover": sum(recover) / len(recover) if recover else 0.0,
    }


def offered(rate: float, first: int) -> dict[str, list[Offered]]:
    """By trace, its calls by seed."""
    seeds = range(first, first + SEEDS[rate])
    return {trace.name: [draw(trace, rate, seed) for seed in seeds] for trace in TRACES}


def run(calls: dict[str, list[Offered]], make: Any) -> dict[str, dict[str, float]]:
    """By trace, the figures of one policy."""
    return {name: figures([simulate(one, make) for one in many]) for name, many in calls.items()}


def total(found: dict[str, dict[str, float]]) -> float:
    """The total score."""
    return sum(one["score"] for one in found.values())


def score(rate: float) -> dict[str, Any]:
    """All policies at one rate: by policy and trace, the figures."""
    calls = offered(rate, HELD_OUT)
    found: dict[str, Any] = {name: run(calls, make) for name, make in policies.rivals().items()}
    found["Adaptive()"] = run(calls, policies.adaptive())
    if rate <= MOST_TUNED:
        grid = policies.constants(rate)
        hindsight = {name: run(calls, make) for name, make in grid.items()}
        tuning = offered(rate, TUNING)
        tuned = min(grid, key=lambda name: total(run(tuning, grid[name])))
        best = min(hindsight, key=lambda name: total(hindsight[name]))
        found[f"constants, tuned: {tuned}"] = hindsight[tuned]
        found[f"constants, best in hindsight: {best}"] = hindsight[best]
        found["oracle: the best constants for each trace"] = {
            name: min((one[name] for one in hindsight.values()), key=lambda one: one["score"])
            for name in calls
        }
    return found


def scenes() -> dict[str, float]:
    """The figures of the scenes, over three seeds the worst."""
    ours, seed_policy = policies.adaptive(), policies.on_machine(max_failures=5)
    seeds = range(HELD_OUT, HELD_OUT + 3)
    return {
        "blip": max(proofs.blip(ours, seed) for seed in seeds),
        "blip, 5 failures, 60 s": max(proofs.blip(seed_policy, seed) for seed in seeds),
        "healing": min(proofs.healing(ours, seed) for seed in seeds),
        "cost": cost.ratio(),
        "rare": max(proofs.rare(ours, healthy) for healthy in (0, 10, 100, 1000)),
    }


def main() -> None:
    """Score and print; with --write, also write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="*", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--write", action="store_true", help="also write the report to docs/reference")
    arguments = parser.parse_args()
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"rates": {}}
    for rate in arguments.rates:
        known["rates"][f"{rate:g}"] = score(rate)
        if arguments.write:
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        totals = {name: round(total(one), 1) for name, one in known["rates"][f"{rate:g}"].items()}
        print(f"{rate:g} a second:", totals, flush=True)
    known["scenes"] = scenes()
    if arguments.write:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    report(known, write=arguments.write)


if __name__ == "__main__":
    main()
