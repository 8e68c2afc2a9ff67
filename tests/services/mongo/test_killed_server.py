"""A killed MongoDB loses no acknowledged write."""

from __future__ import annotations

import trio
import trio_asyncio
from pymongo.errors import PyMongoError

from services.mongo.client import open_database
from services.mongo.repository import MongoRepository, Unique, UniqueViolation
from tests.mongo import Mongod

UNIQUE = (Unique("word", ("word",)),)


class Writers:
    """Writes one word after the other, and records the acknowledged ones."""

    def __init__(self, repository: MongoRepository) -> None:
        self.repository = repository
        self.acknowledged: dict[str, int] = {}
        self.failures = 0

    async def write(self, writer: int) -> None:
        for count in range(1_000_000):
            word = f"{writer}-{count}"
            try:
                result = await self.repository.create({"word": word})
            except PyMongoError:
                self.failures += 1
                continue
            assert not isinstance(result, UniqueViolation), "a repeated write found itself"
            self.acknowledged[word] = result["id"]

    async def more(self, count: int) -> None:
        """Return when `count` more writes were acknowledged."""
        goal = len(self.acknowledged) + count
        while len(self.acknowledged) < goal:  # noqa: ASYNC110 - any writer may be the one
            await trio.sleep(0.01)


async def test_every_acknowledged_write_exists_once_after_two_kills(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with open_database(own_mongod.uri, "survival", seconds=2) as database:
        writers = Writers(MongoRepository(database, "words", UNIQUE))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for writer in range(4):
                    nursery.start_soon(writers.write, writer)
                for _ in range(2):
                    await writers.more(30)
                    own_mongod.kill()
                    await trio.to_thread.run_sync(own_mongod.start)
                await writers.more(10)
                nursery.cancel_scope.cancel()
            kept = await writers.repository.page(1_000_000, 0)
    numbers = {record["word"]: record["id"] for record in kept}
    assert len(numbers) == len(kept)
    assert writers.acknowledged.items() <= numbers.items()
