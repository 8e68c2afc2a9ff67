"""The auth service's accounts, logins and signing key in MongoDB."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from bson import ObjectId
from pymongo import IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from protocols.identity import LEEWAY_SECONDS, REFRESH_SECONDS
from services.auth.addresses.keys import key_conditions, stored_key
from services.auth.addresses.rewrite import rule_index
from services.auth.records import User
from services.auth.signing.key_ring import StoredKeys
from services.auth.signing.stored_keys import read_keys
from services.auth.tokens import RefreshSecret
from services.http.validation import timestamp
from services.mongo.client import Database, Document, MongoDatabase, retry_once
from services.mongo.repository import UniqueViolation, unique_violation

_UNIQUE: dict[tuple[str, ...], str] = {("email_key",): "email"}


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to create.

    role, first_role: `first_role` applies if the account is the first of an empty database, else `role`.
    now: the time of creation, Unix seconds.
    """

    email: str
    password_hash: str = field(repr=False)
    first_name: str
    last_name: str
    role: str
    first_role: str
    now: float


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the hash of the user's password."""

    user: User
    password_hash: str = field(repr=False)


class AccountRepository(Protocol):
    """Accounts, logins and the signing key. Times are Unix seconds.

    Each method is one operation to a breaker, and raises only if the operation failed. A cancelled or failed
    write is done completely or not at all.
    """

    async def signing_keys(self) -> StoredKeys:
        """The keys of this installation; the first call creates one. Finishes a rotation that is over."""

    async def add_user(self, new: NewUser) -> User | UniqueViolation:
        """Create an account. Addresses are unique in the form of `address_key`."""

    async def find_account(self, email: str) -> Account | None:
        """The account with an address of the same `address_key`; None if there is none."""

    async def add_family(self, token: RefreshSecret, user_id: str, expires: float) -> None:
        """Store the first refresh token of a login."""

    async def rotate(self, old: RefreshSecret, new: RefreshSecret, now: float, expires: float) -> User | None:
        """Replace `old` by `new` and return the user.

        If `old` is expired, valid for longer than any refresh token, or was used before, revoke its family
        and return None.
        """

    async def revoke_family(self, family: str, user_id: str) -> None:
        """End a login of this user; no error if there is no such login."""


class MongoAccountRepository:
    """AccountRepository in MongoDB. Each operation is an asyncio function that `Database` runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def signing_keys(self) -> StoredKeys:
        """See AccountRepository."""
        return await self._database.run(read_keys)

    async def add_user(self, new: NewUser) -> User | UniqueViolation:
        """See AccountRepository."""
        document = _new_document(new)
        try:
            stored = await self._database.run(lambda db: _add_user(db, document, new.first_role))
        except DuplicateKeyError as error:
            return unique_violation(error, _UNIQUE)
        return _to_user(stored)

    async def find_account(self, email: str) -> Account | None:
        """See AccountRepository."""
        found = await self._database.run(lambda db: find_user(db, email))
        return None if found is None else Account(_to_user(found), found["password_hash"])

    async def add_family(self, token: RefreshSecret, user_id: str, expires: float) -> None:
        """See AccountRepository."""
        document = {
            "_id": token.family,
            "user_id": user_id,
            "digest": token.digest,
            "expires_at": _to_datetime(expires),
        }
        await self._database.run(lambda db: db.refresh_families.insert_one(document))

    async def rotate(self, old: RefreshSecret, new: RefreshSecret, now: float, expires: float) -> User | None:
        """See AccountRepository."""
        return await self._database.run(lambda db: _rotate(db, old, new, now, expires))

    async def revoke_family(self, family: str, user_id: str) -> None:
        """See AccountRepository."""
        query = {"_id": family, "user_id": user_id}
        await self._database.run(lambda db: db.refresh_families.delete_one(query))


async def find_user(db: MongoDatabase, email: str) -> Document | None:
    """The document of the account with this address; None if there is none. An asyncio function."""
    conditions = key_conditions(email)
    found = {user["email_key"]: user async for user in db.users.find({"$or": conditions})}
    for condition in conditions:
        if condition["email_key"] in found:
            return found[condition["email_key"]]
    return None


async def _add_user(db: MongoDatabase, document: Document, first_role: str) -> Document:
    """Insert the account and return the document as stored."""
    if await db.claims.find_one({"_id": "first-account"}) is None:
        # pymongo doesn't retry the creation of indexes.
        await retry_once(lambda: _prepare(db))
        first = await _add_first(db, document, {**document, "role": first_role})
        if first is not None:
            return first
    await db.users.insert_one(document)
    return document


async def _prepare(db: MongoDatabase) -> None:
    """Create the indexes. The claim of the first account is written later, so it implies that they exist."""
    await db.users.create_indexes([IndexModel("email_key", unique=True), rule_index()])
    await db.refresh_families.create_indexes([IndexModel("expires_at", expireAfterSeconds=0)])


async def _add_first(db: MongoDatabase, later: Document, first: Document) -> Document | None:
    """Insert an account and the claim of the first account in one transaction; None if there is a claim.

    `first` is inserted if there is no account at all, `later` if there are accounts but no claim.
    """

    async def both(session: AsyncClientSession) -> Document | None:
        # Two concurrent transactions conflict; one is retried and finds the other's claim. This function may
        # therefore run more than once, and must change nothing outside of the transaction.
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
    # Read the user first: a failure after the rotation would leave the client with a used token.
    user = await db.users.find_one({"_id": ObjectId(family["user_id"])})
    rotated = user is not None and await db.refresh_families.find_one_and_update(
        {
            "_id": old.family,
            "digest": old.digest,
            "expires_at": {
                "$gt": _to_datetime(now),
                "$lte": _to_datetime(now + REFRESH_SECONDS + LEEWAY_SECONDS),
            },
        },
        {"$set": {"digest": new.digest, "expires_at": _to_datetime(expires)}},
    )
    if user is None or not rotated:
        await db.refresh_families.delete_one({"_id": old.family})
        return None
    return _to_user(user)


def _new_document(new: NewUser) -> Document:
    created_at = _to_datetime(new.now)
    return {
        "_id": ObjectId(),
        "email": new.email,
        **stored_key(new.email),
        "password_hash": new.password_hash,
        "first_name": new.first_name,
        "last_name": new.last_name,
        "role": new.role,
        "created_at": created_at,
        "updated_at": created_at,
    }


def _to_user(document: dict[str, Any]) -> User:
    return User(
        id=str(document["_id"]),
        email=document["email"],
        first_name=document["first_name"],
        last_name=document["last_name"],
        role=document["role"],
        created_at=timestamp(_to_utc(document["created_at"])),
        updated_at=timestamp(_to_utc(document["updated_at"])),
    )


def _to_datetime(seconds: float) -> datetime:
    # MongoDB stores milliseconds. The response to the write must equal a later read.
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)


def _to_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
