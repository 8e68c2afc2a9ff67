"""Checks of configured values. Each raises ValueError naming the field, the value and the range."""

from __future__ import annotations

import math


def positive_int(field: str, value: object, *, least: int = 1) -> None:
    """An int of at least `least`; True and 3.0 are not."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{field} must be a whole number of at least {least}, got {value!r}")


def number(field: str, value: object, *, least: float, most: float = math.inf, above: bool = False) -> None:
    """A finite number in [least, most], or in (least, most] where `above`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if fits and (value > least if above else value >= least) and value <= most:  # type: ignore[operator]
        return
    low = f"above {least:g}" if above else f"at least {least:g}"
    high = "" if most == math.inf else f" and at most {most:g}"
    raise ValueError(f"{field} must be a number {low}{high}, got {value!r}")


def positive_number(field: str, value: object) -> None:
    """A finite number above 0."""
    number(field, value, least=0, above=True)
