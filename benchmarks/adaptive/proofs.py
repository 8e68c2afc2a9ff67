"""Two scenes with a goal of their own: a blip at a high rate, and the recovery at a higher one."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from .simulator import Policy


def scene(
    make: Callable[[], Policy], rate: float, seconds: float, seed: int, fails: Callable[[float, int], bool]
) -> list[tuple[float, bool]]:
    """The time of each call and whether it was admitted. fails: asked with the time and the calls so far."""
    rng = random.Random(seed)
    policy = make()
    running: list[tuple[float, int, Any, bool]] = []
    calls: list[tuple[float, bool]] = []
    now = 0.0
    while now < seconds:
        now += rng.expovariate(rate)
        while running and running[0][0] <= now:
            moment, _, permit, ok = heapq.heappop(running)
            policy.settle(permit, ok, moment)
        failing = fails(now, len(calls))
        takes = 0.02 if failing else 0.02 + 0.06 * rng.random()
        permit = policy.admit(now)
        calls.append((now, permit is not None))
        if permit is not None:
            heapq.heappush(running, (now + takes, len(calls), permit, not failing))
    return calls


def blip(make: Callable[[], Policy], seed: int) -> float:
    """The percentage of calls rejected in ten minutes at 840 a second; 0.14 % fail, all in one row."""
    calls = round(840 * 600 * 0.0014)
    first = 840 * 300
    found = scene(make, 840.0, 600.0, seed, lambda _now, n: first <= n < first + calls)
    return 100 * sum(not admitted for _, admitted in found) / len(found)


def healing(make: Callable[[], Policy], seed: int, within: float = 1.0) -> float:
    """The percentage admitted from `within` seconds after a 60 s outage at 5,000 calls a second."""
    found = scene(make, 5000.0, 75.0, seed, lambda now, n: 10 <= now < 70 or n % 100 == 0)
    later = [admitted for now, admitted in found if now >= 70 + within]
    return 100 * sum(later) / len(later)


def rare(make: Callable[[], Policy], healthy: int) -> int:
    """The calls that fail before the first is rejected: one every ten seconds, after `healthy` good ones."""
    policy = make()
    for n in range(healthy):
        now = 10.0 * (n + 1)
        policy.settle(policy.admit(now), n % 100 != 50, now + 0.05)
    for failed in range(100):
        now = 10.0 * (healthy + failed + 1)
        permit = policy.admit(now)
        if permit is None:
            return failed
        policy.settle(permit, False, now + 0.05)
    return 100
