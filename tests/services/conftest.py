"""What the tests of every service need: a panel, and someone who signs tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors import Panel, open_panel
from tests.tokens import Issuer


@pytest.fixture
async def panel() -> AsyncIterator[Panel]:
    """A panel without breakers."""
    async with open_panel() as opened:
        yield opened


@pytest.fixture
def issuer() -> Issuer:
    """Signs tokens that its key set verifies."""
    return Issuer()
