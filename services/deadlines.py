"""Time limits of calls to dependencies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

CALLER_SHARE = 0.9
"""The share of the caller's remaining time that a call to a dependency may take."""
MINIMUM_SECONDS = 0.25
"""A share below this is too short to blame the dependency for a time-out."""


def seconds_for_call(longest: float) -> float:
    """Seconds that a call may take: `longest`, or CALLER_SHARE of the caller's remaining time.

    The smaller of the two applies, so that the call times out before the caller's deadline cancels it. A
    cancellation counts as neither success nor failure, and a hung dependency would never open its breaker. If
    the share is below MINIMUM_SECONDS, the result is `longest`, and the call is cancelled with its caller.
    """
    share = (trio.current_effective_deadline() - trio.current_time()) * CALLER_SHARE
    return longest if share < MINIMUM_SECONDS else min(longest, share)


async def answer_within(seconds: float, function: Callable[..., Awaitable[T]], *args: object) -> T:
    """Await `function(*args)`. Raises TimeoutError after `seconds`.

    Cancelling cancels the function.
    """
    try:
        with trio.fail_after(seconds):
            return await function(*args)
    except trio.TooSlowError:
        # Breaker policies count the builtin TimeoutError; trio's own error isn't a subclass of it.
        raise TimeoutError(f"no answer within {seconds:g} s") from None
