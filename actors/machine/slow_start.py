"""Admission that grows after a recovery as long as the dependency bears it. Pure."""

from __future__ import annotations

import math

from ..messages import NEVER, Outcome

FIRST_LIMIT = 4
"""The calls that run at once after the probes."""
PATIENCE = 5.0
"""Seconds after which a call that still runs no longer takes a place: it may be a stream."""

UNCHANGED = 0.75
"""If halving the limit leaves this part of the bad share, load isn't the cause."""


class SlowStart:
    """Limits the calls that run at once, and judges by rounds: as many calls as the limit.

    A round with about the tolerated share of bad calls doubles the limit, a worse one halves it. If halving
    didn't help, then load isn't the cause, and the share that was seen is tolerated from then on. A good
    round in which the limit rejected no call ends the ramp: at a low rate that is the first one.

    tolerated: the share of bad calls up to which the limit grows. most: the largest share that may be
        tolerated.
    """

    __slots__ = (
        "_bad",
        "_calls",
        "_first",
        "_last",
        "_limit",
        "_most",
        "_over",
        "_rejected",
        "_running",
        "_share_before",
        "_tolerated",
    )

    def __init__(self, tolerated: float, most: float) -> None:
        self._tolerated = tolerated
        self._most = most
        self._limit = FIRST_LIMIT
        self._running: dict[int, float] = {}
        self._last = 0
        # The number of the first call of the round.
        self._first = 0
        self._calls = self._bad = 0
        self._rejected = False
        # The bad share that halved the limit, for the round after it.
        self._share_before = 0.0
        self._over = False

    @property
    def end(self) -> float:
        """When the oldest running call gives its place back; inf if none runs."""
        return next(iter(self._running.values()), NEVER) + PATIENCE

    def admit(self, now: float) -> bool:
        """Whether a place is free."""
        if len(self._running) < self._limit:
            return True
        self._rejected = True
        return False

    def next_admission(self, now: float) -> float:
        """Now if a place is free; otherwise another event decides."""
        return now if len(self._running) < self._limit else NEVER

    def started(self, number: int, now: float) -> None:
        """Note the start of a call."""
        self._running[number] = now
        self._last = number

    def ended(self, number: int, outcome: Outcome) -> bool:
        """Note the end of a call, and judge the round if it was the last one. Whether the ramp is over."""
        self._running.pop(number, None)
        if number >= self._first and outcome in (Outcome.SUCCESS, Outcome.FAILURE):
            self._calls += 1
            self._bad += outcome is Outcome.FAILURE
            if self._calls >= self._limit:
                self._judge()
        return self._over

    def wake(self, now: float) -> bool:
        """Free the places of calls that take too long. Whether the ramp is over."""
        while now >= self.end:
            del self._running[next(iter(self._running))]
        return self._over

    def retry_after(self, now: float) -> float:
        """Seconds after which a place is probably free."""
        return 0.1

    def _judge(self) -> None:
        # Half a standard deviation at least: a round is few calls.
        bad = self._bad > self._tolerated * self._calls + 0.5 * math.sqrt(self._calls)
        share = self._bad / self._calls
        if self._share_before and share >= UNCHANGED * self._share_before:
            self._tolerated = max(self._tolerated, min(self._most, self._share_before))
            bad = False
        self._share_before = share if bad else 0.0
        if bad:
            self._limit = max(FIRST_LIMIT, self._limit // 2)
        elif self._rejected:
            self._limit *= 2
        else:
            self._over = True
        self._first = self._last + 1
        self._calls = self._bad = 0
        self._rejected = False
