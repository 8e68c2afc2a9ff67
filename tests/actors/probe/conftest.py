"""A mock clock and a probe."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actors.testing import ScriptedDependency


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    return mock_clock


@pytest.fixture
def probe() -> ScriptedDependency:
    """A probe that fails until the test changes it."""
    dependency = ScriptedDependency()
    dependency.breaks()
    return dependency
