"""Finds the incidents of a log, and the blocks of time between which none is split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from actors.policy.adaptive import FULL_CONFIDENCE
from actors.policy.learning.sequential import UNIT, success_weight, threshold

from .recording import Ended

CHUNK = 50
"""Calls of which each chunk has so many; the median chunk says what is usual."""
TOLERANCE = 0.5
"""As Adaptive's: below this share of the usual successes lost, a call is better sent."""
LEAST_EVIDENCE = 4.0
MERGED_SECONDS = 60.0
"""Two incidents with less time between them are one."""
MOST_BLOCKS = 10


class Incident(NamedTuple):
    """From the first failure to the call with which all is as usual again. Seconds from the log's start."""

    start: float
    end: float


def incidents(calls: Sequence[Ended]) -> list[Incident]:
    """The incidents of one breaker's calls, oldest first.

    By the sequential test that Adaptive opens by, with what was usual in the whole log: an incident is where
    so many calls failed that rejecting them costs less than sending them.
    """
    usual = _usual(calls)
    weight = success_weight(usual, TOLERANCE) / UNIT
    enough = max(LEAST_EVIDENCE, threshold(usual, TOLERANCE, FULL_CONFIDENCE))
    found: list[Incident] = []
    evidence, since, is_incident = 0.0, 0.0, False
    for start, _, failed in calls:
        if failed:
            if evidence == 0:
                since = start
            evidence = min(evidence + 1, enough)
            is_incident = is_incident or evidence >= enough
        elif evidence:
            evidence = max(0.0, evidence - weight)
            if evidence == 0 and is_incident:
                found.append(Incident(since, start))
                is_incident = False
    if is_incident:
        found.append(Incident(since, calls[-1].start))
    return found


def _usual(calls: Sequence[Ended]) -> float:
    chunks = [calls[n : n + CHUNK] for n in range(0, len(calls), CHUNK)]
    return median(sum(call.failed for call in chunk) / len(chunk) for chunk in chunks)


def merged(found: Iterable[Incident]) -> list[Incident]:
    """Incidents of several breakers of one policy: those that overlap, or nearly so, are one."""
    merged: list[Incident] = []
    for one in sorted(found):
        if merged and one.start - merged[-1].end < MERGED_SECONDS:
            merged[-1] = Incident(merged[-1].start, max(one.end, merged[-1].end))
        else:
            merged.append(one)
    return merged


def cuts(found: Sequence[Incident], most: int = MOST_BLOCKS) -> list[float]:
    """The times between blocks: half-way between two incidents. Each block has an incident, or several."""
    middles = [(one.end + other.start) / 2 for one, other in pairwise(found)]
    blocks = min(len(found), most)
    return [middles[round(n * len(found) / blocks) - 1] for n in range(1, blocks)]


def judged(calls: Sequence[Ended], found: Sequence[Incident], at: Sequence[float]) -> list[int]:
    """What a judge who knows the incidents would lose: usual failures, and successes during incidents.

    By block; at: see `cuts`.
    """
    costs = [0] * (len(at) + 1)
    block = number = 0
    for start, _, failed in calls:
        while block < len(at) and start >= at[block]:
            block += 1
        while number < len(found) and start > found[number].end:
            number += 1
        is_down = number < len(found) and found[number].start <= start
        costs[block] += failed is not is_down
    return costs
