"""Which environment variables the processes read: a misspelt one would be ignored silently."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.settings import settings

# Read by a later version of the processes. A variable that they don't read is harmless.
LATER = {"SCHOOL_GRPC_SECRET"}
OTHERS = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PATH"}


def unknown(names: Iterable[str]) -> set[str]:
    """The names that no process of the stack reads."""
    return set(names) - settings().keys() - LATER - OTHERS


def longest_stop(environment: dict[str, str]) -> float:
    """Seconds that a process with this environment may take to stop."""
    return float(environment["SHUTDOWN_DELAY"]) + float(environment["SHUTDOWN_GRACE"])
