"""Call logs of simulated dependencies, in the gateway's own format."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.adaptive.policies import Nothing, on_machine
from gateway.call_log.log_file import CallLogFile, LoggedCall

BEGUN = 1_800_000_000.0
NAME = "auth-service-http"


def outages(*starts: float, seconds: float = 60.0, usual: float = 0.01) -> Callable[[float], float]:
    """A function from a time to the share of failing calls: all during outages, else `usual`."""

    def chance(t: float) -> float:
        return 1.0 if any(start <= t < start + seconds for start in starts) else usual

    return chance


def record(
    path: Path,
    chance: Callable[[float], float],
    *,
    rate: float = 5.0,
    seconds: float = 3600.0,
    name: str = NAME,
    seed: int = 1,
    policy: dict[str, Any] | None = None,
) -> None:
    """Append the calls of one breaker to the file. policy: of the breaker; None: it only observes."""
    rng = random.Random(f"{name} {seed}")
    breaker = Nothing() if policy is None else on_machine(**policy)()
    running: list[tuple[float, int, Any, bool]] = []
    lines: list[LoggedCall] = []

    def settle(until: float) -> None:
        while running and running[0][0] <= until:
            end, _, permit, ok = heapq.heappop(running)
            breaker.settle(permit, ok, end)

    now = 0.0
    while True:
        now += rng.expovariate(rate)
        takes, die = 0.02 + 0.06 * rng.random(), rng.random()
        if now >= seconds:
            break
        settle(now)
        permit = breaker.admit(now)
        if permit is None:
            lines.append(LoggedCall(BEGUN + now, name, "rejected", None))
            continue
        failed = die < chance(now)
        heapq.heappush(running, (now + takes, len(lines), permit, not failed))
        lines.append(LoggedCall(BEGUN + now + takes, name, "failure" if failed else "success", takes))
    file = CallLogFile(path)
    file.append(sorted(lines))
    file.close()
