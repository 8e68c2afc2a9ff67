"""Deadlines on their way down: each hop gets less time than its caller has."""

from __future__ import annotations

import trio

SHARE = 0.9
LEAST_SECONDS = 0.25


def seconds_for_call(longest: float) -> float:
    """How long a call to a dependency may take here: `longest`, or a share of what the caller has left.

    The call must give up before the caller's deadline cancels it: a cancellation counts neither way, and a
    dependency that hangs would never be noticed. Where the share is less than LEAST_SECONDS, running out of
    it says nothing of the dependency; then the call has `longest`, and is cancelled with its caller.
    """
    share = (trio.current_effective_deadline() - trio.current_time()) * SHARE
    return longest if share < LEAST_SECONDS else min(longest, share)
