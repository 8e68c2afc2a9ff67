"""Password hashes: Argon2id in threads, a few at a time, so that a storm of logins can't stall the loop."""

from __future__ import annotations

import os

import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError


class Passwords:
    """Makes and checks hashes. At most one for each processor runs at once; the others wait in line.

    Cancelling while waiting gives the place up; a hash that has begun is finished first (some 20 ms).
    """

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int | None = None) -> None:
        # OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        self._limiter = trio.CapacityLimiter(at_once or os.cpu_count() or 1)
        self._nobodys = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """A new hash of `password`."""
        return await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `stored` is a hash of `password`. None takes as long, and is False."""
        return await trio.to_thread.run_sync(self._verify, password, stored, limiter=self._limiter)

    def _verify(self, password: str, stored: str | None) -> bool:
        try:
            return self._hasher.verify(stored or self._nobodys, password) and stored is not None
        except (Argon2Error, InvalidHashError):
            return False
