"""Numbered records in one collection: what the stores of schools and of students have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.mongo.client import Database, Document, IdSequence, MongoDatabase

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unique:
    """No two records have the same `fields`. `name`: the one of them that a refusal speaks of.

    optional: a record without `name` conflicts with none.
    """

    name: str
    fields: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class UniqueViolation:
    """Another record has this value already; nothing was written."""

    field: str


class Repository(Protocol):
    """Where records are kept. Answers, `UniqueViolation` among them, are returned; raising means a failure.

    Every method may be cancelled at any point. A write that was cancelled, or failed, happened once or
    not at all.
    """

    async def create(self, record: Record) -> Record | UniqueViolation:
        """Store a record that has no id yet, under a number never used before."""

    async def get(self, number: int) -> Record | None:
        """The record of that number."""

    async def update(self, number: int, changes: Mapping[str, Any]) -> Record | UniqueViolation | None:
        """Set the given fields; the record as it is then, None where there is none."""

    async def delete(self, number: int) -> bool:
        """Whether there was one to delete."""

    async def page(self, limit: int, after: int, where: Mapping[str, Any] | None = None) -> list[Record]:
        """At most `limit` records above number `after`, in order, of those that have the values `where`."""

    async def update_all(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Set the given fields in all that have the values `where`."""


class MongoRecords:
    """Repository in a collection of MongoDB, whose unique indexes alone decide what is taken."""

    def __init__(
        self, database: Database, collection: str, unique: Sequence[Unique], sorted_by: Sequence[str] = ()
    ) -> None:
        self._database = database
        self._collection = collection
        self._unique = {tuple(rule.fields): rule.name for rule in unique}
        indexes = [_unique_index(rule) for rule in unique]
        indexes += [IndexModel([(field, ASCENDING), ("_id", ASCENDING)]) for field in sorted_by]
        self._numbering = IdSequence(collection, indexes)

    async def create(self, record: Record) -> Record | UniqueViolation:
        """See Repository. Returns when a majority has it on disk."""

        async def write(db: MongoDatabase) -> Record | UniqueViolation:
            number = await self._numbering.next(db)
            try:
                await db[self._collection].insert_one({"_id": number, **record})
            except DuplicateKeyError as error:
                return self._taken(error)
            return {"id": number, **record}

        return await self._database.run(write)

    async def get(self, number: int) -> Record | None:
        """See Repository."""
        return _record(await self._database.run(lambda db: db[self._collection].find_one({"_id": number})))

    async def update(self, number: int, changes: Mapping[str, Any]) -> Record | UniqueViolation | None:
        """See Repository."""

        async def write(db: MongoDatabase) -> Record | UniqueViolation | None:
            try:
                return _record(
                    await db[self._collection].find_one_and_update(
                        {"_id": number}, {"$set": dict(changes)}, return_document=ReturnDocument.AFTER
                    )
                )
            except DuplicateKeyError as error:
                return self._taken(error)

        return await self._database.run(write)

    async def delete(self, number: int) -> bool:
        """See Repository."""
        result = await self._database.run(lambda db: db[self._collection].delete_one({"_id": number}))
        return result.deleted_count == 1

    async def page(self, limit: int, after: int, where: Mapping[str, Any] | None = None) -> list[Record]:
        """See Repository."""

        async def read(db: MongoDatabase) -> list[Record]:
            found = db[self._collection].find({**(where or {}), "_id": {"$gt": after}})
            return [_to_record(document) async for document in found.sort("_id").limit(limit)]

        # A page comes in several answers, of which pymongo repeats the first alone.
        return await self._database.run(read, repeatable=True)

    async def update_all(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """See Repository."""
        await self._database.run(
            lambda db: db[self._collection].update_many(dict(where), {"$set": dict(changes)}),
            repeatable=True,
        )

    def _taken(self, error: DuplicateKeyError) -> UniqueViolation:
        name = self._unique.get(tuple((error.details or {}).get("keyPattern", ())))
        if name is None:
            raise error
        return UniqueViolation(name)


def _unique_index(rule: Unique) -> IndexModel:
    keys = [(field, ASCENDING) for field in rule.fields]
    if rule.optional:
        return IndexModel(keys, unique=True, partialFilterExpression={rule.name: {"$type": "string"}})
    return IndexModel(keys, unique=True)


def _record(document: Document | None) -> Record | None:
    return None if document is None else _to_record(document)


def _to_record(document: Document) -> Record:
    return {"id": document.pop("_id"), **document}
