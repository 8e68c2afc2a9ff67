"""failure_result: a returned value that counts as a failure."""

from __future__ import annotations

import pytest

from actors import CircuitBreakerConfig, open_panel
from actors.testing import ScriptedDependency


async def test_a_result_may_be_a_failure_and_an_exception_a_success() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(
            CircuitBreakerConfig(name="it", failure_result=lambda value: value is None, answers=KeyError)
        )
        dependency = ScriptedDependency()
        dependency.then(None, KeyError("not there"), ValueError("broken"))
        assert await breaker.execute(dependency) is None
        with pytest.raises(KeyError):
            await breaker.execute(dependency)
        with pytest.raises(ValueError, match="broken"):
            await breaker.execute(dependency)
        counts = (await breaker.snapshot()).counts
    assert counts["failure"] == 2
    assert counts["success"] == 1
