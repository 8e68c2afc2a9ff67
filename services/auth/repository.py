"""What the auth service keeps, and how MongoDB keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from bson import ObjectId
from pymongo import IndexModel, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from protocols.records import User
from services.auth.schemas import email_key
from services.auth.tokens import RefreshSecret, SigningKey
from services.http.validation import stamp
from services.mongo.client import Database, Document, MongoDatabase, repeat_once


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to be made. first_role: its role if it turns out to be the first of an empty database."""

    email: str
    password_hash: str = field(repr=False)
    first_name: str
    last_name: str
    role: str
    first_role: str
    now: float


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the hash of its password."""

    user: User
    password_hash: str = field(repr=False)


class Store(Protocol):
    """What the auth service asks of its database. Times are Unix seconds.

    Each method is one operation to a breaker; cancelling one leaves it either done or not done at all.
    """

    async def signing_key(self) -> SigningKey:
        """The key of this installation; the first who asks makes it."""

    async def add_user(self, new: NewUser) -> User | None:
        """Make an account; None where its address is taken."""

    async def find_account(self, email: str) -> Account | None:
        """The account with this address, however its letters are written."""

    async def add_family(self, token: RefreshSecret, user_id: str, expires: float) -> None:
        """Keep the first refresh token of a login."""

    async def rotate(self, old: RefreshSecret, new: RefreshSecret, now: float, expires: float) -> User | None:
        """Put `new` in the place of `old`, once. None where `old` isn't good; then its family is revoked."""

    async def revoke_family(self, family: str, user_id: str) -> None:
        """End a login of this user; no error where there is none."""


class MongoStore:
    """The Store in MongoDB. Each operation is an asyncio function that `Database` runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signing_key(self) -> SigningKey:
        """See Store."""
        return await self._database.run(_signing_key)

    async def add_user(self, new: NewUser) -> User | None:
        """See Store."""
        document = _new_document(new)
        try:
            stored = await self._database.run(lambda db: _add_user(db, document, new.first_role))
        except DuplicateKeyError:
            return None
        return _user(stored)

    async def find_account(self, email: str) -> Account | None:
        """See Store."""
        key = email_key(email)
        found = await self._database.run(lambda db: db.users.find_one({"email_key": key}))
        return None if found is None else Account(_user(found), found["password_hash"])

    async def add_family(self, token: RefreshSecret, user_id: str, expires: float) -> None:
        """See Store."""
        document = {
            "_id": token.family,
            "user_id": user_id,
            "digest": token.digest,
            "expires_at": _time(expires),
        }
        await self._database.run(lambda db: db.refresh_families.insert_one(document))

    async def rotate(self, old: RefreshSecret, new: RefreshSecret, now: float, expires: float) -> User | None:
        """See Store."""
        return await self._database.run(lambda db: _rotate(db, old, new, now, expires))

    async def revoke_family(self, family: str, user_id: str) -> None:
        """See Store."""
        query = {"_id": family, "user_id": user_id}
        await self._database.run(lambda db: db.refresh_families.delete_one(query))


async def _signing_key(db: MongoDatabase) -> SigningKey:
    found = await db.signing_keys.find_one({"_id": "current"})
    if found is None:
        made = SigningKey.new()
        kept = await db.signing_keys.find_one_and_update(
            {"_id": "current"},
            {"$setOnInsert": {"kid": made.kid, "secret": made.secret}},
            upsert=True,
            return_document=ReturnDocument.BEFORE,
        )
        return SigningKey(kept["kid"], bytes(kept["secret"])) if kept else made
    return SigningKey(found["kid"], bytes(found["secret"]))


async def _add_user(db: MongoDatabase, document: Document, first_role: str) -> Document:
    """Insert the account; the document as it was stored."""
    if await db.claims.find_one({"_id": "first-account"}) is None:
        # Making indexes isn't repeated by pymongo.
        await repeat_once(lambda: _prepare(db))
        first = await _add_first(db, document, {**document, "role": first_role})
        if first is not None:
            return first
    await db.users.insert_one(document)
    return document


async def _prepare(db: MongoDatabase) -> None:
    """The claim of the first account is written after the indexes, so whoever finds it knows they stand."""
    await db.users.create_indexes([IndexModel("email_key", unique=True)])
    await db.refresh_families.create_indexes([IndexModel("expires_at", expireAfterSeconds=0)])


async def _add_first(db: MongoDatabase, later: Document, first: Document) -> Document | None:
    """Insert an account with the claim to be the first, both or neither; None where there is a claim.

    `first` is inserted where there is no account at all, `later` where there are some without a claim.
    """

    async def both(session: AsyncClientSession) -> Document | None:
        # Two at once conflict, and the one that is tried again finds the other's claim. So this runs more
        # than once, and what it did in a run that failed must leave no trace.
        if await db.claims.find_one({"_id": "first-account"}, session=session) is not None:
            return None
        await db.claims.insert_one({"_id": "first-account", "user_id": first["_id"]}, session=session)
        empty = await db.users.find_one({}, {"_id": 1}, session=session) is None
        document = first if empty else later
        await db.users.insert_one(document, session=session)
        return document

    async with db.client.start_session() as session:
        return await session.with_transaction(both)


async def _rotate(
    db: MongoDatabase, old: RefreshSecret, new: RefreshSecret, now: float, expires: float
) -> User | None:
    family = await db.refresh_families.find_one({"_id": old.family})
    if family is None:
        return None
    # The user is read first: after the rotation nothing may fail, or the client is left with a used token.
    user = await db.users.find_one({"_id": ObjectId(family["user_id"])})
    rotated = user is not None and await db.refresh_families.find_one_and_update(
        {"_id": old.family, "digest": old.digest, "expires_at": {"$gt": _time(now)}},
        {"$set": {"digest": new.digest, "expires_at": _time(expires)}},
    )
    if user is None or not rotated:
        await db.refresh_families.delete_one({"_id": old.family})
        return None
    return _user(user)


def _new_document(new: NewUser) -> Document:
    stamp = _time(new.now)
    return {
        "_id": ObjectId(),
        "email": new.email,
        "email_key": email_key(new.email),
        "password_hash": new.password_hash,
        "first_name": new.first_name,
        "last_name": new.last_name,
        "role": new.role,
        "created_at": stamp,
        "updated_at": stamp,
    }


def _user(document: dict[str, Any]) -> User:
    return User(
        id=str(document["_id"]),
        email=document["email"],
        first_name=document["first_name"],
        last_name=document["last_name"],
        role=document["role"],
        created_at=stamp(_aware(document["created_at"])),
        updated_at=stamp(_aware(document["updated_at"])),
    )


def _time(seconds: float) -> datetime:
    # MongoDB keeps milliseconds; what is answered at once must be what is read later.
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
