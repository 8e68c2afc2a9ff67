"""Fixtures for every service: a panel and an issuer of tokens."""

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
    """Signs tokens; its `keys` verify them."""
    return Issuer()
