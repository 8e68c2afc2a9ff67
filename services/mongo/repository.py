"""Repositories of records with integer ids and unique fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from services.mongo.client import Database, Document, MongoDatabase
from services.mongo.id_sequence import IdSequence
from services.mongo.ownership import DENIED, OWNER, Denied, OwnedBy

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unique:
    """A constraint: no two records have the same values of `fields`.

    name: the field of these that a UniqueViolation names. optional: a record without `name` never conflicts.
    """

    name: str
    fields: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class UniqueViolation:
    """Another record already has the value of `field`; nothing was written."""

    field: str


class Repository(Protocol):
    """Records by id. Every method raises only if the operation failed; a UniqueViolation is returned.

    Every method may be cancelled at any point. A cancelled or failed write is done once or not at all.

    only: the records that the operation may touch; None: all. An operation on another record changes nothing
    and returns DENIED. The owner is set by `create` alone, and no record that is returned has it.
    """

    async def create(self, record: Record, owner: str | None = None) -> Record | UniqueViolation:
        """Store a record without an id, under an id never used before; return the record with its id.

        owner: a user id; None: the record has no owner.
        """

    async def get(self, number: int, only: OwnedBy | None = None) -> Record | Denied | None:
        """The record with id `number`; None if there is none."""

    async def update(
        self, number: int, changes: Mapping[str, Any], only: OwnedBy | None = None
    ) -> Record | UniqueViolation | Denied | None:
        """Set the given fields and return the changed record; None if there is none."""

    async def delete(self, number: int, only: OwnedBy | None = None) -> bool | Denied:
        """Delete a record; return whether it existed."""

    async def page(
        self,
        limit: int,
        after: int,
        where: Mapping[str, Any] | None = None,
        only: OwnedBy | None = None,
    ) -> list[Record]:
        """The first `limit` records with ids above `after` and the values `where`, ordered by id.

        Other records than those of `only` are left out.
        """

    async def update_all(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Set the given fields in all records that have the values `where`."""


class MongoRepository:
    """Repository in a collection of MongoDB. Its unique indexes alone detect violations.

    sorted_by: fields that `page` is called with in `where`; each gets an index. pages_by_owner: `page` is
    called with `only`; owners get indexes.
    """

    def __init__(
        self,
        database: Database,
        collection: str,
        unique: Sequence[Unique],
        sorted_by: Sequence[str] = (),
        *,
        pages_by_owner: bool = False,
    ) -> None:
        self._database = database
        self._collection = collection
        self._unique = {tuple(rule.fields): rule.name for rule in unique}
        indexes = [_unique_index(rule) for rule in unique]
        indexes += [_page_index(field) for field in sorted_by]
        if pages_by_owner:
            indexes += [_page_index(OWNER), *(_page_index(field, OWNER) for field in sorted_by)]
        self._ids = IdSequence(collection, indexes)

    async def create(self, record: Record, owner: str | None = None) -> Record | UniqueViolation:
        """See Repository. Returns when a majority of the servers has the record on disk."""

        async def write(db: MongoDatabase) -> Record | UniqueViolation:
            number = await self._ids.next(db)
            try:
                await db[self._collection].insert_one({"_id": number, **record, OWNER: owner})
            except DuplicateKeyError as error:
                return unique_violation(error, self._unique)
            return {"id": number, **record}

        return await self._database.run(write)

    async def get(self, number: int, only: OwnedBy | None = None) -> Record | Denied | None:
        """See Repository."""
        found = await self._database.run(lambda db: db[self._collection].find_one({"_id": number}))
        if found is not None and only is not None and not only.admits(found.get(OWNER)):
            return DENIED
        return None if found is None else _to_record(found)

    async def update(
        self, number: int, changes: Mapping[str, Any], only: OwnedBy | None = None
    ) -> Record | UniqueViolation | Denied | None:
        """See Repository."""

        async def write(db: MongoDatabase) -> Record | UniqueViolation | Denied | None:
            try:
                changed = await db[self._collection].find_one_and_update(
                    _matching(number, only), {"$set": dict(changes)}, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError as error:
                return unique_violation(error, self._unique)
            if changed is not None:
                return _to_record(changed)
            return DENIED if await self._is_denied(db, number, only) else None

        return await self._database.run(write)

    async def delete(self, number: int, only: OwnedBy | None = None) -> bool | Denied:
        """See Repository."""

        async def write(db: MongoDatabase) -> bool | Denied:
            result = await db[self._collection].delete_one(_matching(number, only))
            if result.deleted_count == 1:
                return True
            return DENIED if await self._is_denied(db, number, only) else False

        return await self._database.run(write)

    async def _is_denied(self, db: MongoDatabase, number: int, only: OwnedBy | None) -> bool:
        """Whether the record exists, after a write that found none of those that it may touch."""
        if only is None:
            return False
        # Owners never change, so a record that exists now wasn't one of `only` before.
        return await db[self._collection].find_one({"_id": number}, {"_id": 1}) is not None

    async def page(
        self,
        limit: int,
        after: int,
        where: Mapping[str, Any] | None = None,
        only: OwnedBy | None = None,
    ) -> list[Record]:
        """See Repository."""
        condition = {**(where or {}), **(only.condition() if only else {}), "_id": {"$gt": after}}

        async def read(db: MongoDatabase) -> list[Record]:
            cursor = db[self._collection].find(condition)
            return [_to_record(document) async for document in cursor.sort("_id").limit(limit)]

        # A page may take several commands; pymongo retries the first only.
        return await self._database.run(read, idempotent=True)

    async def update_all(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """See Repository."""
        await self._database.run(
            lambda db: db[self._collection].update_many(dict(where), {"$set": dict(changes)}),
            idempotent=True,
        )


def unique_violation(error: DuplicateKeyError, names: Mapping[tuple[str, ...], str]) -> UniqueViolation:
    """The violation that `error` reports. Raises `error` if its index isn't in `names`.

    names: by the fields of a unique index: the field that the UniqueViolation names.
    """
    name = names.get(tuple((error.details or {}).get("keyPattern", ())))
    if name is None:
        raise error
    return UniqueViolation(name)


def _unique_index(rule: Unique) -> IndexModel:
    keys = [(field, ASCENDING) for field in rule.fields]
    if rule.optional:
        return IndexModel(keys, unique=True, partialFilterExpression={rule.name: {"$type": "string"}})
    return IndexModel(keys, unique=True)


def _page_index(*fields: str) -> IndexModel:
    return IndexModel([(field, ASCENDING) for field in (*fields, "_id")])


def _matching(number: int, only: OwnedBy | None) -> dict[str, Any]:
    return {"_id": number, **(only.condition() if only else {})}


def _to_record(document: Document) -> Record:
    document.pop(OWNER, None)
    return {"id": document.pop("_id"), **document}
