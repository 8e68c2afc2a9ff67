"""Limits on failed authentications. Only failures count, and only against the client that has caused them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter

from runtime.web.failure_limit import FailureCounters, rate_limited

PER_CLIENT = 60
PER_ACCOUNT = 20
"""Failures a minute of one client, and of one client for one account."""


class Attempt:
    """One attempt to log in. has_failed: set by `fail`."""

    def __init__(self) -> None:
        self.has_failed = False

    def fail(self) -> None:
        """Count the attempt as a failure when it ends."""
        self.has_failed = True


class GuessLimiter:
    """Limits the failed authentications of each client, and of each client for each account.

    A client: what `TrustedGateways` returns. The counts are those of this process, in memory.
    """

    def __init__(self, per_client: int = PER_CLIENT, per_account: int = PER_ACCOUNT) -> None:
        self._limiter = MovingWindowRateLimiter(FailureCounters())
        self._by_client = RateLimitItemPerMinute(per_client)
        self._by_account = RateLimitItemPerMinute(per_account)
        self._running: Counter[str] = Counter()
        self._ended: dict[str, trio.Event] = {}
        """By client: set when an attempt ends. Only clients with waiting attempts have one."""

    @asynccontextmanager
    async def attempt(self, client: str, account: str) -> AsyncIterator[Attempt]:
        """Surround an attempt to log in to `account`, whether it exists or not.

        Raises ApiError RATE_LIMITED if a limit is reached. Waits if the attempts that still run could reach
        it: many attempts at once make no more guesses than one after the other.
        """
        keys = self._keys(client, account)
        while not self._may_start(keys):
            await self._ended.setdefault(client, trio.Event()).wait()
        self._running.update(key for _, key in keys)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            self._running.subtract(key for _, key in keys)
            self._running = +self._running
            if attempt.has_failed:
                for item, key in keys:
                    self._limiter.hit(item, key)
            self._ended.pop(client, trio.Event()).set()

    def count_failure(self, client: str) -> None:
        """Count a bad token. Raises ApiError RATE_LIMITED, and counts nothing, if the limit is reached.

        Good tokens are never limited: they can't be guessed.
        """
        if not self._limiter.hit(self._by_client, client):
            raise rate_limited(self._limiter, self._by_client, client)

    def _keys(self, client: str, account: str) -> tuple[tuple[RateLimitItem, str], ...]:
        # Neither memory dumps nor keys of arbitrary length: addresses are hashed.
        digest = hashlib.blake2b(account.encode(), digest_size=16).hexdigest()
        return (self._by_client, client), (self._by_account, f"{client} {digest}")

    def _may_start(self, keys: tuple[tuple[RateLimitItem, str], ...]) -> bool:
        """Whether another attempt may start if all that run fail. Raises ApiError RATE_LIMITED."""
        for item, key in keys:
            if not self._limiter.test(item, key):
                raise rate_limited(self._limiter, item, key)
        return all(self._limiter.test(item, key, cost=self._running[key] + 1) for item, key in keys)
