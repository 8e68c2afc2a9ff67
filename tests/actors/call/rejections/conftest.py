"""A nursery for calls that run during the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio


@pytest.fixture
async def running() -> AsyncIterator[trio.Nursery]:
    """It is cancelled at the end of the test."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()
