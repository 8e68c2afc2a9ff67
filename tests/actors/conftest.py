"""What the tests of the breaker share: a panel, and something to call that fails as told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors import Panel, open_panel
from actors.testing import ScriptedDependency


@pytest.fixture
async def panel() -> AsyncIterator[Panel]:
    """A panel without breakers."""
    async with open_panel() as opened:
        yield opened


@pytest.fixture
def dependency() -> ScriptedDependency:
    """It answers until it is told otherwise."""
    return ScriptedDependency()
