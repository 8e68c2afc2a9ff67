"""The kinds of incidents. Times are seconds before scaling; each trace is a dependency and its load."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

DURATION = 300.0
USUAL = 0.01
"""The share of calls that fail on a good day."""

Chance = Callable[[float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One kind of incident.

    chance: the share of calls that fail at a time. failing: seconds a failing call takes. load: the rate at a
    time, as a share of the usual. capacity: calls that the dependency bears, as a share of the usual
    rate; more fail. retries: how often a caller tries again after a failure. shards: how many keys calls
    have, of which the first fails. keyed: each key has a breaker. healthy: a policy shouldn't reject here.
    """

    name: str
    about: str
    chance: Chance
    failing: float = 0.02
    load: Chance = field(default=lambda _: 1.0)
    capacity: Chance | None = None
    retries: int = 0
    shards: int = 1
    keyed: bool = False
    healthy: bool = False


def spans(*intervals: tuple[float, float, float], usual: float = USUAL) -> Chance:
    """A share for each interval (start, end, share), and the usual one outside."""

    def chance(t: float) -> float:
        for start, end, share in intervals:
            if start <= t < end:
                return share
        return usual

    return chance


def noisy(t: float) -> float:
    """Near 40 %: a slow wave of ±6 points, and ±6 points that change every ten seconds."""
    jitter = random.Random(int(t / 10)).uniform(-0.06, 0.06)
    return 0.4 + 0.06 * math.sin(2 * math.pi * t / 100) + jitter


def flapping(t: float) -> float:
    """Ten seconds down, ten up, from 60 to 180."""
    return 1.0 if 60 <= t < 180 and (t // 10) % 2 == 0 else USUAL


def bursts(t: float) -> float:
    """All calls fail for 0.3 s, every twenty seconds."""
    return 1.0 if t % 20 < 0.3 and t > 20 else USUAL


def recovering(t: float) -> float:
    """After an outage of 30 s, what is borne grows from a tenth to one and a half times the load in 90 s."""
    if t < 60:
        return 2.0
    return 0.1 if t < 90 else min(2.0, 0.1 + 1.4 * (t - 90) / 90)


TRACES = (
    Trace(name="outage", about="all calls fail at once, for 60 s", chance=spans((60, 120, 1.0))),
    Trace(
        name="hangs",
        about="all calls time out after 2 s, for 60 s",
        chance=spans((60, 120, 1.0)),
        failing=2.0,
    ),
    Trace(
        name="timeouts of 5 s",
        about="all calls time out after 5 s, for 60 s",
        chance=spans((60, 120, 1.0)),
        failing=5.0,
    ),
    Trace(
        name="brownout", about="80 % fail for 120 s, after 0.5 s", chance=spans((60, 180, 0.8)), failing=0.5
    ),
    Trace(
        name="mild brownout",
        about="10 % fail for 120 s",
        chance=spans((60, 180, 0.10)),
        failing=0.5,
        healthy=True,
    ),
    Trace(name="1 % baseline", about="1 % fail, always", chance=spans(), healthy=True),
    Trace(name="8 % baseline", about="8 % fail, always", chance=spans(usual=0.08), healthy=True),
    Trace(name="noisy baseline", about="28 to 52 % fail, always", chance=noisy, healthy=True),
    Trace(name="bursts", about="all fail for 0.3 s every 20 s", chance=bursts),
    Trace(name="flapping", about="10 s down, 10 s up, for 120 s", chance=flapping),
    Trace(name="30 % partial", about="30 % fail for 120 s", chance=spans((60, 180, 0.3))),
    Trace(name="70 % partial", about="70 % fail for 120 s", chance=spans((60, 180, 0.7))),
    Trace(
        name="outage, then partial",
        about="an outage of 40 s, then 30 % fail for 80 s",
        chance=spans((60, 100, 1.0), (100, 180, 0.3)),
    ),
    Trace(
        name="slow recovery",
        about="an outage of 30 s, then what is borne grows with time; what is above fails",
        chance=spans((60, 90, 1.0)),
        capacity=recovering,
    ),
    Trace(
        name="daily swing",
        about="the load swings between 0.2 and 1.8 of the mean; outages of 40 s at low and at high load",
        chance=spans((205, 245, 1.0), (55, 95, 1.0)),
        load=lambda t: 1.0 + 0.8 * math.sin(2 * math.pi * t / DURATION),
    ),
    Trace(
        name="retries",
        about="an outage of 20 s; callers try three times, and what is above 1.5 of the load fails",
        chance=spans((60, 80, 1.0)),
        capacity=lambda _: 1.5,
        retries=2,
    ),
    Trace(
        name="shard, keyed",
        about="one of ten shards is dead for 120 s; a breaker each",
        chance=spans((60, 180, 1.0)),
        shards=10,
        keyed=True,
    ),
    Trace(
        name="shard, unkeyed",
        about="one of ten shards is dead for 120 s; one breaker for all",
        chance=spans((60, 180, 1.0)),
        shards=10,
    ),
)
BY_NAME = {trace.name: trace for trace in TRACES}

SCALES = {0.1: 20.0, 1.0: 3.0, 5.0: 1.0, 50.0: 1.0, 500.0: 0.5, 5000.0: 0.1}
"""By the rate, the factor of all times of the traces: rare calls meet longer incidents."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The calls of a trace, drawn from one seed: the same for all policies.

    times: when each comes. fails: its die for failing, by attempt. takes: its seconds if it succeeds.
    keys: its shard.
    """

    trace: Trace
    rate: float
    scale: float
    times: list[float]
    fails: list[tuple[float, ...]]
    takes: list[float]
    keys: list[int]


def draw(trace: Trace, rate: float, seed: int) -> Offered:
    """The calls of `trace` at `rate` a second: a Poisson stream."""
    rng = random.Random(f"{trace.name} {rate} {seed}")
    scale = SCALES[rate]
    end = DURATION * scale
    times: list[float] = []
    now = 0.0
    busiest = max(trace.load(t) for t in range(int(DURATION)))
    while True:
        now += rng.expovariate(rate * busiest)
        if now >= end:
            break
        if rng.random() * busiest < trace.load(now / scale):
            times.append(now)
    tries = trace.retries + 1
    return Offered(
        trace,
        rate,
        scale,
        times,
        [tuple(rng.random() for _ in range(tries)) for _ in times],
        [0.02 + 0.06 * rng.random() for _ in times],
        [rng.randrange(trace.shards) for _ in times],
    )
