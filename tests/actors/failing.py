"""Calls that fail, for the tests of this folder."""

from __future__ import annotations

import pytest

from actors import CircuitBreaker
from actors.testing import DependencyDown, ScriptedDependency


async def fail(breaker: CircuitBreaker, times: int) -> None:
    """Make calls that raise DependencyDown."""
    broken = ScriptedDependency()
    broken.breaks()
    for _ in range(times):
        with pytest.raises(DependencyDown):
            await breaker.execute(broken)
