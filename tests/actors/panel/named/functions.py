"""A function that a named breaker protects, and the breaker: by its policy, and by its name alone."""

from __future__ import annotations

import trio

from actors import breaker_named
from actors.testing import DependencyDown
from tests.actors.panel.registered import POLICY

NAMED = breaker_named(POLICY)

BY_NAME_ALONE = breaker_named("it")


@NAMED.protect
async def doubled(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    await trio.lowlevel.checkpoint()
    if number < 0:
        raise DependencyDown
    return 2 * number + plus
