"""For long logs: the policies that are worth a replay of all calls, by a sample of the calls."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from .candidates import Candidate
from .incidents import Incident
from .recording import Ended

SAMPLED = 50_000
"""Calls of a breaker from which on all policies are tried on a sample of so many first."""
PROMISING = 8
"""The policies of a kind that are tried on all calls then, besides the first."""
STRETCHES = 20


def sample(calls: Sequence[Ended], found: Sequence[Incident], most: int) -> list[Ended]:
    """About `most` of the calls, in order: half around the incidents, half in stretches of equal length.

    The calls around an incident are shared out evenly, before and after its start.
    """
    stretch = most // (2 * STRETCHES)
    spans = [(n * len(calls) // STRETCHES, stretch) for n in range(STRETCHES)]
    around = most // (2 * len(found)) if found else 0
    for one in found:
        begins = bisect_left(calls, one.start, key=lambda call: call.start)
        spans.append((max(0, begins - around // 2), around))
    kept: list[Ended] = []
    end = 0
    for begins, length in sorted(spans):
        kept += calls[max(begins, end) : begins + length]
        end = max(end, begins + length)
    return kept


def promising(tried: Sequence[Candidate], cost: Callable[[Candidate], int]) -> list[Candidate]:
    """The first candidate, which is the present one or has the defaults, and those that cost least."""
    costs = [cost(one) for one in tried]
    best = sorted(range(1, len(tried)), key=costs.__getitem__)[:PROMISING]
    return [tried[n] for n in [0, *sorted(best)]]
