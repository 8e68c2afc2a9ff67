"""The signing keys in MongoDB. All functions are asyncio functions.

One document has the current key and, while keys are rotated, the next one, so that every change is atomic.
Its times are the server's, and readers get durations: the clocks of the auth service's hosts don't matter.
"""

from __future__ import annotations

from datetime import datetime

from pymongo import ReturnDocument

from services.auth.signing.key_ring import PUBLISHED_SECONDS, StoredKeys
from services.auth.tokens import SigningKey
from services.mongo.client import Document, MongoDatabase

_ID = {"_id": "current"}
_WITH_TIME = {"kid": 1, "secret": 1, "next": 1, "now": "$$NOW"}


async def read_keys(db: MongoDatabase) -> StoredKeys:
    """The keys. The first call creates one. A rotation that is over is finished: the old key is deleted."""
    found = await _read(db) or await _create(db)
    if not found.is_rotated:
        return found
    assert found.next is not None
    # Another process may have finished it in the meantime, and begun the next: the old key's id excludes
    # that.
    await db.signing_keys.update_one(
        {**_ID, "kid": found.current.kid},
        {"$set": {"kid": found.next.kid, "secret": found.next.secret}, "$unset": {"next": ""}},
    )
    return await _read(db) or found


async def begin_rotation(db: MongoDatabase) -> tuple[StoredKeys, bool]:
    """Publish a next key, unless one is published already.

    Returns the keys, and whether a key was added. May be interrupted and repeated at any point.
    """
    await read_keys(db)
    new = SigningKey.new()
    signs_at = {"$add": ["$$NOW", int(PUBLISHED_SECONDS * 1000)]}
    added = {"kid": new.kid, "secret": {"$literal": new.secret}, "signs_at": signs_at}
    result = await db.signing_keys.update_one({**_ID, "next": None}, [{"$set": {"next": added}}])
    return await read_keys(db), result.modified_count == 1


async def _read(db: MongoDatabase) -> StoredKeys | None:
    found = await db.signing_keys.find_one(_ID, _WITH_TIME)
    if found is None:
        return None
    upcoming = found.get("next")
    if upcoming is None:
        return StoredKeys(_key(found))
    signs_at: datetime = upcoming["signs_at"]
    return StoredKeys(_key(found), _key(upcoming), (signs_at - found["now"]).total_seconds())


async def _create(db: MongoDatabase) -> StoredKeys:
    new = SigningKey.new()
    stored = await db.signing_keys.find_one_and_update(
        _ID,
        {"$setOnInsert": {"kid": new.kid, "secret": new.secret}},
        upsert=True,
        # Another process may have created the key in the meantime.
        return_document=ReturnDocument.AFTER,
    )
    assert stored is not None, "an upsert returns the document"
    return StoredKeys(_key(stored))


def _key(document: Document) -> SigningKey:
    return SigningKey(document["kid"], bytes(document["secret"]))
