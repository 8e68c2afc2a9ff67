"""Integer ids for the records of a collection."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import DESCENDING, IndexModel, ReturnDocument

from services.mongo.client import MongoDatabase, retry_once


class IdSequence:
    """Integer ids for one collection, from an atomic counter that exists only if the collection's indexes do.

    The counter's document is written after the indexes. Each id therefore implies that the indexes exist,
    even if the service was started before MongoDB, or the database was dropped while the service runs.
    """

    def __init__(self, collection: str, indexes: Sequence[IndexModel]) -> None:
        self._collection = collection
        self._indexes = list(indexes)
        self._is_prepared = False

    async def next(self, database: MongoDatabase) -> int:
        """An id that was never returned before. An asyncio function. Raises what pymongo raises."""
        # The first call in a process creates the indexes: the counter may stem from an older release that
        # lacks an index of this one.
        number = await self._increment(database) if self._is_prepared else None
        if number is None:
            # pymongo doesn't retry the creation of indexes.
            await retry_once(lambda: self._prepare(database))
            self._is_prepared = True
            number = await self._increment(database)
        if number is None:
            raise RuntimeError(f"the counter of {self._collection} was removed while it was being created")
        return number

    async def _increment(self, database: MongoDatabase) -> int | None:
        counter = await database.counters.find_one_and_update(
            {"_id": self._collection}, {"$inc": {"value": 1}}, return_document=ReturnDocument.AFTER
        )
        return None if counter is None else int(counter["value"])

    async def _prepare(self, database: MongoDatabase) -> None:
        collection = database[self._collection]
        await collection.create_indexes(self._indexes)
        last = await collection.find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        await database.counters.update_one(
            {"_id": self._collection},
            {"$setOnInsert": {"value": last["_id"] if last else 0}},
            upsert=True,
        )
