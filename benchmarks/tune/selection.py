"""Chooses a policy by cross-validation over blocks of time, and says how sure that is."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from actors import CircuitBreakerConfig
from benchmarks.adaptive.policies import OnMachine

from .candidates import Candidate, adaptive_candidates, fixed_candidates, replayable
from .incidents import Incident, cuts, incidents, judged, merged
from .recording import Ended, Recording
from .replay import Costs, replay
from .screening import SAMPLED, promising, sample

SEED = 1
RESAMPLES = 2000
INTERVAL = 0.9
LEAST_GAIN = 0.05
"""A policy is recommended if it saves this share of what the present one costs, at least."""
BUSY_GAP = 60.0
"""Seconds; a longer pause between two calls doesn't make a dependency a rarely called one."""


PLAUSIBLE = 3
"""Of the assumptions about rejected calls, so many are plausible; the others are the extremes."""


class Sureness(StrEnum):
    """How far a recommendation can be trusted. Only the last two are changes worth making."""

    SAME = "nothing better was found"
    UNSURE = "unsure"
    LIKELY = "likely"
    SURE = "sure"


@dataclass(frozen=True, slots=True)
class Choice:
    """The best policy of one kind.

    candidate: the best on the whole log, with its costs. held_out: by block, the cost of the policy that is
    the best on the other blocks: what to expect of a policy chosen in this way. agreeing: the number of
    blocks for which the same policy was chosen.
    """

    candidate: Candidate
    costs: Costs
    held_out: tuple[int, ...]
    agreeing: int


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the present and the chosen policy cost under one assumption about rejected calls."""

    meaning: str
    now: int
    chosen: int

    @property
    def is_better(self) -> bool:
        """Whether the chosen policy costs less."""
        return self.chosen < self.now


@dataclass(frozen=True, slots=True)
class Result:
    """What was found for one breaker. Costs are calls lost or sent in vain.

    judge: by block, what a judge who knows the incidents would lose. chosen: the better of `fixed` and
    `adaptive` on held-out blocks. saved: by block, what it saves there. interval: of the saved calls of all
    blocks.
    """

    name: str
    found: tuple[Incident, ...]
    now: Candidate
    now_costs: Costs
    judge: tuple[int, ...]
    fixed: Choice
    adaptive: Choice
    chosen: Choice
    saved: tuple[int, ...]
    interval: tuple[float, float]
    assumed: tuple[Assumed, ...]
    sureness: Sureness


def select(name: str, recordings: Sequence[Recording], config: CircuitBreakerConfig) -> Result:
    """Choose a policy for one breaker. recordings: its own calls and those of its routes' breakers."""
    now = Candidate(replayable(config), {})
    calls = [one.outcomes() for one in recordings]
    by_breaker = [incidents(one) for one in calls]
    found = merged(one for several in by_breaker for one in several)
    at = cuts(found)
    judges = [judged(one, incident, at) for one, incident in zip(calls, by_breaker, strict=True)]
    judge = tuple(map(sum, zip(*judges, strict=True)))

    def costs(candidate: Candidate, shift: float = 0.0) -> Costs:
        assumed = [one.outcomes(shift) for one in recordings] if shift else calls
        costs = [replay(one, at, lambda: OnMachine(candidate.config)) for one in assumed]
        return sum(costs[1:], costs[0])

    now_costs = costs(now)

    def tried(candidates: list[Candidate]) -> list[tuple[Candidate, Costs]]:
        return [(one, costs(one)) for one in _screened(candidates, calls, by_breaker)]

    fixed = _choice(tried(fixed_candidates(now.config, _rate(recordings))))
    adaptive = _choice(tried(adaptive_candidates(now.config)))
    chosen = min(fixed, adaptive, key=lambda one: sum(one.held_out))
    saved = tuple(now_costs.of(n) - cost for n, cost in enumerate(chosen.held_out))
    interval = _interval(saved)
    assumed = tuple(
        Assumed(meaning, costs(now, one).total, costs(chosen.candidate, one).total)
        for meaning, one in _shifts(len(found)).items()
    )
    sureness = _sureness(chosen, saved, interval, assumed, now_costs.total - sum(judge))
    return Result(
        name, tuple(found), now, now_costs, judge, fixed, adaptive, chosen, saved, interval, assumed, sureness
    )


def _screened(
    candidates: list[Candidate], calls: Sequence[Sequence[Ended]], found: Sequence[Sequence[Incident]]
) -> list[Candidate]:
    """All candidates; of a long log, those that are promising on a sample of it."""
    if sum(map(len, calls)) <= SAMPLED:
        return candidates
    most = SAMPLED // len(calls)
    samples = [sample(one, incident, most) for one, incident in zip(calls, found, strict=True)]

    def cost(candidate: Candidate) -> int:
        return sum(replay(one, [], lambda: OnMachine(candidate.config)).total for one in samples)

    return promising(candidates, cost)


def _shifts(incidents: int) -> dict[str, float]:
    """By their meaning, shifts of the times at which a dependency recovers: plausible ones, then extremes.

    A dependency may recover at any time of a gap with the same chance. So the mean of several is near the
    middle of the gaps: within 1.64 standard errors in nine of ten logs. Blips, which are over as soon as
    a breaker has opened, are at the early extreme.
    """
    spread = min(0.5, 1.64 / math.sqrt(12 * incidents))
    return {
        "at any time of a gap": 0.0,
        "rather late": spread,
        "rather early": -spread,
        "as late as possible": 0.5,
        "as early as possible": -0.5,
    }


def _rate(recordings: Sequence[Recording]) -> float:
    """Calls a second while there are calls, of the busiest breaker."""
    return max(_busy_rate([call.start for call in one.calls]) for one in recordings)


def _busy_rate(starts: Sequence[float]) -> float:
    busy = sum(min(BUSY_GAP, later - start) for start, later in pairwise(starts))
    return len(starts) / max(busy, 1e-3)


def _choice(tried: Sequence[tuple[Candidate, Costs]]) -> Choice:
    """The best of the tried; of equals the first. Each block is judged by what is best on the others."""
    blocks = range(len(tried[0][1].lost))
    held_out, winners = [], []
    for block in blocks:
        winner = min(range(len(tried)), key=lambda n: tried[n][1].total - tried[n][1].of(block))
        winners.append(winner)
        held_out.append(tried[winner][1].of(block))
    best = min(range(len(tried)), key=lambda n: tried[n][1].total)
    return Choice(*tried[best], tuple(held_out), Counter(winners)[best])


def _interval(saved: Sequence[int]) -> tuple[float, float]:
    """A bootstrap over blocks: where the sum would be in most logs of as many blocks of this kind."""
    rng = random.Random(SEED)
    sums = sorted(sum(rng.choices(saved, k=len(saved))) for _ in range(RESAMPLES))
    outside = (1 - INTERVAL) / 2
    return sums[round(outside * RESAMPLES)], sums[round((1 - outside) * RESAMPLES) - 1]


def _sureness(
    chosen: Choice,
    saved: Sequence[int],
    interval: tuple[float, float],
    assumed: Sequence[Assumed],
    avoidable: int,
) -> Sureness:
    """avoidable: what the present policy costs more than the judge."""
    if not chosen.candidate.values or sum(saved) <= 0 or sum(saved) < LEAST_GAIN * avoidable:
        return Sureness.SAME
    better, worse = sum(one > 0 for one in saved), sum(one < 0 for one in saved)
    if better <= worse or not all(one.is_better for one in assumed[:PLAUSIBLE]):
        return Sureness.UNSURE
    is_sure = interval[0] > 0 and worse == 0 and all(one.is_better for one in assumed)
    return Sureness.SURE if is_sure else Sureness.LIKELY
