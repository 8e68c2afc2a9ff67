"""A breaker for functions to protect."""

from __future__ import annotations

import pytest

from actors import CircuitBreaker, Panel
from tests.actors.call.breakers import new_breaker


@pytest.fixture
async def breaker(panel: Panel) -> CircuitBreaker:
    """It opens after three failures in a row."""
    return new_breaker(panel, max_failures=3)
