"""Parts of every benchmark's report."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "reference"
SPEED = DOCS / "speed"


def verdict(value: float, comparison: str, goal: float) -> str:
    """Say "reached" or "missed". comparison: "<=" or ">=", as in `value <= goal`."""
    return "reached" if (value <= goal if comparison == "<=" else value >= goal) else "**missed**"
