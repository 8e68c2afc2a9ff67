"""Rewrites the keys of accounts that earlier releases have made, once at the start of each process."""

from __future__ import annotations

from typing import Any

import structlog
import trio
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, PyMongoError

from services.auth.addresses.keys import RULE, canonical_key
from services.mongo.client import Database, Document, MongoDatabase, retry_once

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
_BATCH = 100

log = structlog.get_logger("accounts")


async def rewrite_addresses(database: Database) -> None:
    """Give every account of an earlier release its key of today's form. Returns when all have been looked at.

    Several processes may do this at once, and it may be interrupted and repeated: each write changes one
    account, and only if its key is still the earlier one. If another account has the new key already, it
    keeps it, and both keep what they log in with; a log line names both ids. Waits while MongoDB is down,
    and bypasses breakers. Cancelling leaves the remaining accounts as they are.
    """
    failures = 0
    after: Any = None
    while True:
        try:
            seen = await database.run(lambda db, after=after: _batch(db, after), idempotent=True)  # type: ignore[misc]
            if not seen:
                return
            await _number_unchanged(database, seen)
            for account in seen:
                if canonical_key(account["email"]) != account["email_key"]:
                    await _rewrite(database, account)
            after, failures = seen[-1]["_id"], 0
        except PyMongoError as error:
            if failures == 0:
                log.info("the addresses of accounts are rewritten later", reason=type(error).__name__)
            await trio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1


async def _batch(db: MongoDatabase, after: Any) -> list[Document]:
    """The next accounts with an earlier key, the oldest first: ids begin with the time of creation."""
    await retry_once(lambda: db.users.create_indexes([rule_index()]))
    condition: dict[str, Any] = {"email_rule": None}
    if after is not None:
        condition["_id"] = {"$gt": after}
    cursor = db.users.find(condition, {"email": 1, "email_key": 1}).sort("_id").limit(_BATCH)
    return [account async for account in cursor]


def rule_index() -> IndexModel:
    """The index that finds the accounts with an earlier key."""
    return IndexModel([("email_rule", ASCENDING), ("_id", ASCENDING)])


async def _number_unchanged(database: Database, accounts: list[Document]) -> None:
    """Number the keys that both rules make alike, which are nearly all, in one write."""
    ids = [one["_id"] for one in accounts if canonical_key(one["email"]) == one["email_key"]]
    change = {"$set": {"email_rule": RULE}}
    await database.run(lambda db: db.users.update_many({"_id": {"$in": ids}}, change), idempotent=True)


async def _rewrite(database: Database, account: Document) -> None:
    key = canonical_key(account["email"])
    if key is None:
        log.warning("an account's address isn't valid any more: it logs in as before", id=str(account["_id"]))
        return
    condition = {"_id": account["_id"], "email_key": account["email_key"], "email_rule": None}
    change = {"$set": {"email_key": key, "email_rule": RULE}}
    try:
        await database.run(lambda db: db.users.update_one(condition, change))
    except DuplicateKeyError:
        other = await database.run(lambda db: db.users.find_one({"email_key": key}, {"_id": 1}))
        log.warning(
            "two accounts have the same address: both log in as before",
            id=str(account["_id"]),
            other=None if other is None else str(other["_id"]),
        )
