"""Password hashes by Argon2id, made in threads so that many logins at once don't stall the event loop."""

from __future__ import annotations

import os

import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from services.auth.limits.fair_queue import FairQueue


class Passwords:
    """Makes and verifies password hashes, at most `max_concurrent` at once; further calls wait in `queue`.

    max_concurrent: by default the number of processors. queue: by default a FairQueue of the default size.
    client: for whom a hash is made; the clients take turns. Both methods raise QueueFull. Cancelling a
    waiting call removes it from the queue. Cancelling a hashing call takes effect when the hash is done
    (about 20 ms).
    """

    def __init__(
        self,
        hasher: PasswordHasher | None = None,
        *,
        max_concurrent: int | None = None,
        queue: FairQueue | None = None,
    ) -> None:
        # OWASP's first recommendation for Argon2id: 19 MiB, two passes, one lane.
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
        concurrent = max_concurrent or os.cpu_count() or 1
        self._queue = queue or FairQueue(concurrent)
        # Threads of its own: those that trio shares may all be busy elsewhere.
        self._limiter = trio.CapacityLimiter(concurrent)
        self._dummy_hash = self._hasher.hash("nobody has this password")

    async def hash(self, password: str, client: str = "") -> str:
        """A new hash of `password`."""
        async with self._queue.turn(client):
            return await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def verify(self, password: str, stored: str | None, client: str = "") -> bool:
        """Whether `stored` is a hash of `password`. For None the result is False, after the same time."""
        async with self._queue.turn(client):
            return await trio.to_thread.run_sync(self._verify, password, stored, limiter=self._limiter)

    def _verify(self, password: str, stored: str | None) -> bool:
        try:
            return self._hasher.verify(stored or self._dummy_hash, password) and stored is not None
        except (Argon2Error, InvalidHashError):
            return False
