"""Deadlines on their way down: each hop gets less time than its caller has."""

from __future__ import annotations

import trio

SHARE = 0.9
LEAST_SECONDS = 0.001


def seconds_for_call(longest: float) -> float:
    """How long a call to a dependency may take here: `longest`, or a share of what the caller has left.

    The call must give up before the caller's deadline cancels it: a cancellation counts neither way, and a
    dependency that hangs would never be noticed.
    """
    left = trio.current_effective_deadline() - trio.current_time()
    return max(LEAST_SECONDS, min(longest, left * SHARE))
