"""The growth of a breaker's wait. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .checks import credible_wait, number, positive_int, positive_number

RETRY_AFTER_MAXIMUM = 600.0
"""Maximum seconds to which a server's Retry-After lengthens the wait if `backoff.maximum` is None."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The growth of the wait from one failed recovery to the next. It starts again on closing.

    factor: each wait is multiplied by it; 1.0 keeps `reset_timeout`.
    maximum: the longest wait, seconds; None: no limit. It limits a server's Retry-After too, which
        RETRY_AFTER_MAXIMUM limits if this is None.
    jitter: 0 to 1; a wait is shortened or lengthened by up to this share, then clamped.
    seed: makes the jitter repeatable; None: different in every process.
    """

    factor: float = 1.0
    maximum: float | None = None
    jitter: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        number("backoff.factor", self.factor, least=1)
        number("backoff.jitter", self.jitter, least=0, most=1)
        if self.maximum is not None:
            positive_number("backoff.maximum", self.maximum)
        if self.seed is not None:
            positive_int("backoff.seed", self.seed, least=0)

    def wait(
        self, base: float, attempt: int, rng: random.Random | None, requested: float | None = None
    ) -> float:
        """Seconds to wait before recovery number `attempt` (0 the first) is tried.

        rng: the source of the jitter; None: no jitter. requested: seconds that the server asked to wait;
        they never shorten the wait.
        """
        own = self._own_wait(base, attempt, rng)
        if not credible_wait(requested):
            return own
        return max(own, min(requested, RETRY_AFTER_MAXIMUM if self.maximum is None else self.maximum))

    def _own_wait(self, base: float, attempt: int, rng: random.Random | None) -> float:
        limit = self.maximum if self.maximum is not None else float("inf")
        try:
            wait = min(base * self.factor**attempt, limit)
        except OverflowError:
            wait = limit
        if self.jitter and rng is not None:
            wait = min(wait * (1 + self.jitter * rng.uniform(-1, 1)), limit)
        # An unlimited backoff overflows to infinity after a thousand doublings: the wait stays finite.
        return min(wait, 1e9)


CONSTANT_WAIT = Backoff()
"""The wait that doesn't grow."""
