"""Checks of configured values. Each raises ValueError naming the field, the value and the range."""

from __future__ import annotations

import math
from typing import TypeGuard

MOST_COUNTED = 1_000_000
"""Calls that a breaker may remember: a window of that many takes a megabyte."""

YEAR = 365 * 86_400.0
"""Seconds. A server that asks to wait for longer doesn't mean it."""


def credible_wait(seconds: float | None) -> TypeGuard[float]:
    """Whether a server may mean it: above 0, and a year at most. NaN isn't."""
    return seconds is not None and 0 < seconds <= YEAR


def positive_int(field: str, value: object, *, least: int = 1, most: float = math.inf) -> None:
    """An int in [least, most]; True and 3.0 are not."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return
    high = "" if most == math.inf else f" and at most {most:,}"
    raise ValueError(f"{field} must be a whole number of at least {least}{high}, got {value!r}")


def number(field: str, value: object, *, least: float, most: float = math.inf, above: bool = False) -> None:
    """A finite number in [least, most], or in (least, most] where `above`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if fits and (value > least if above else value >= least) and value <= most:  # type: ignore[operator]
        return
    low = f"above {least:g}" if above else f"at least {least:g}"
    high = "" if most == math.inf else f" and at most {most:g}"
    raise ValueError(f"{field} must be a number {low}{high}, got {value!r}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def positive_number(field: str, value: object) -> None:
    """A finite number above 0."""
    number(field, value, least=0, above=True)
