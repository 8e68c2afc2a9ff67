"""The active probe of MongoDB."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pymongo

from services.deadlines import answer_within
from services.mongo.client import Database, MongoDatabase

PROBE_SECONDS = 1.0


def ping_probe(database: Database, seconds: float = PROBE_SECONDS) -> Callable[[], Awaitable[None]]:
    """A probe for a breaker's policy: it returns if MongoDB's primary answers a ping. It bypasses breakers.

    The probe raises what pymongo raises, and TimeoutError after `seconds`. Cancelling ends the command.
    """

    async def ping(db: MongoDatabase) -> None:
        with pymongo.timeout(seconds):
            await db.client.admin.command("ping")

    return partial(answer_within, seconds, database.run, ping)
