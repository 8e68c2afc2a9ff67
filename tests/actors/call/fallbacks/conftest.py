"""A fallback that returns, and one that is awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio


def stored(error: Exception) -> str:
    """A fallback that names the type of its error."""
    return f"stored: {type(error).__name__}"


async def stored_elsewhere(error: Exception) -> str:
    await trio.lowlevel.checkpoint()
    return stored(error)


@pytest.fixture(params=[stored, stored_elsewhere])
def fallback(request: pytest.FixtureRequest) -> Callable[[Exception], str | Awaitable[str]]:
    """Both kinds, one after the other."""
    made: Callable[[Exception], str | Awaitable[str]] = request.param
    return made
