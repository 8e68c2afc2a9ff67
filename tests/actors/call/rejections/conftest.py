"""A nursery for calls that hold a place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio


@pytest.fixture
async def running() -> AsyncIterator[trio.Nursery]:
    """For calls that hold a place."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()
