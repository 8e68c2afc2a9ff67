"""The part of a machine that follows the state which instances share. Pure."""

from __future__ import annotations

from ..messages import State
from .half_open import GIVEN_BACK, NEWS_SECONDS, HalfOpen
from .lifecycle import Lifecycle
from .states import NextState, Open, SharedOpen

FOLLOWS = (State.CLOSED, State.HALF_OPEN, State.OPEN)
"""The states that follow the shared one. Those that an operator holds don't."""


class SharedLifecycle(Lifecycle):
    """Sharing only adds an opening: it never admits a call that this instance alone would reject."""

    __slots__ = ()

    def adopt_open(self, now: float, wait: float, reason: str, attempt: int) -> None:
        """The breaker is open for all, and may be probed after `wait` seconds by the holder of a lease.

        attempt: the step of the backoff. To be called again within NEWS_SECONDS for as long as it holds.
        """
        self.wake(now)
        if self.state not in FOLLOWS:
            return
        self._attempt = attempt
        wait = max(wait, NEWS_SECONDS)
        behavior = self._behavior
        if isinstance(behavior, Open):
            own = behavior.own_until if isinstance(behavior, SharedOpen) else behavior.deadline
            self._behavior = SharedOpen(now + wait, behavior.failed_route, own)
        else:
            self._enter(NextState(State.OPEN, reason, wait=wait), now)
            self._behavior = SharedOpen(now + wait)

    def adopt_closed(self, now: float, reason: str) -> None:
        """The breaker is closed for all. This instance's own opening goes on until its own wait ends."""
        self.wake(now)
        behavior = self._behavior
        own = behavior.own_until if isinstance(behavior, SharedOpen) else None
        if own is not None and own <= now:
            self._enter(NextState(State.HALF_OPEN, "attempting recovery"), now)
        elif own is not None:
            self._behavior = Open(own, behavior.failed_route)
        elif self.waits_for_lease or self.has_lease:
            self._enter(NextState(State.CLOSED, reason, recovery=True), now)

    def give_back(self, now: float) -> None:
        """Another instance wants the lease: be open again as before it, unless a probe runs."""
        self.wake(now)
        behavior = self._behavior
        if isinstance(behavior, HalfOpen) and self.has_lease and not behavior.is_probing:
            self._enter(NextState(State.OPEN, GIVEN_BACK, wait=NEWS_SECONDS), now)

    def is_lease_over(self, now: float) -> bool:
        """Whether this instance has a lease that has ended, and hasn't noticed yet."""
        behavior = self._behavior
        return isinstance(behavior, HalfOpen) and behavior.lease_end is not None and behavior.lease_end <= now

    def grant_probe(self, now: float, within: float, attempt: int) -> None:
        """This instance may probe for all for `within` seconds; while it does already, for longer.

        attempt: the step of the backoff.
        """
        self.wake(now)
        if self.state is State.OPEN:
            self._attempt = attempt
            self._enter(NextState(State.HALF_OPEN, "attempting recovery"), now)
        if isinstance(self._behavior, HalfOpen):
            self._behavior.lease_end = now + within
