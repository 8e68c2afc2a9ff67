"""The arithmetic of the sequential test: how much a success weighs, and how much evidence opens. Pure.

The evidence is a sum that never falls below 0: a failure adds 1, a success takes `success_weight` away. Below
the break-even share of failures the sum falls on average, above it it rises. Calls that fail
as usual reach `t` about once in exp(root · t) calls, where the root solves Cramér's equation.
"""

from __future__ import annotations

import math
from functools import lru_cache

UNIT = 1024
"""Evidence is counted in whole numbers of 1/UNIT: k successes at once weigh exactly k times one success."""

_STEPS = 500
"""Baselines are rounded up to 1/_STEPS, so that few thresholds are ever computed."""


def break_even(usual: float, tolerance: float) -> float:
    """The share of failures at which a call is as well rejected as sent.

    usual: the usual share of failures. tolerance: the share of usual successes whose loss is tolerated.
    """
    return usual + (1.0 - usual) * tolerance


def success_weight(usual: float, tolerance: float) -> int:
    """What a success takes from the evidence, in UNITs: at the break-even share the sum stays on average."""
    even = break_even(_rounded(usual), tolerance)
    return round(UNIT * even / (1.0 - even))


def threshold(usual: float, tolerance: float, confidence: float) -> float:
    """The evidence, in failures, that is reached at most once in about exp(confidence) usual calls."""
    return confidence / _root(_rounded(usual), tolerance)


WAVERS = 1.15, 0.01
"""A usual share wavers: for the false alarms it is taken as larger, by this factor and by this share."""


def _rounded(usual: float) -> float:
    return math.ceil(min(0.98, max(1 / _STEPS, usual)) * _STEPS) / _STEPS


@lru_cache(maxsize=1024)
def _root(usual: float, tolerance: float) -> float:
    """The positive root of p·exp(x) + (1-p)·exp(-w·x) = 1, by bisection."""
    even = break_even(usual, tolerance)
    weight = even / (1.0 - even)
    usual = min(0.99, usual * WAVERS[0] + WAVERS[1])
    low, high = 0.0, -math.log(usual)
    for _ in range(50):
        middle = (low + high) / 2
        if usual * math.exp(middle) + (1 - usual) * math.exp(-weight * middle) < 1:
            low = middle
        else:
            high = middle
    return high
