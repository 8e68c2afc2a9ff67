"""What the demo prints, and how it notices that the stack does something else."""

from __future__ import annotations

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The stack did something else than the scenario expects."""


def expect(name: str, expected: object, actual: object) -> None:
    """Raise DemoFailed if the two values differ."""
    if actual != expected:
        raise DemoFailed(f"{name}: expected {expected!r}, got {actual!r}")
