"""Making an existing account an admin, in MongoDB."""

from __future__ import annotations

from datetime import UTC, datetime

from protocols.identity import ADMIN
from services.auth.repository import find_user
from services.mongo.client import MongoDatabase


async def promote(db: MongoDatabase, email: str, password_hash: str) -> bool:
    """Give the account with this address the role admin and the password, and end its logins.

    Returns whether there is such an account. An asyncio function; it may be interrupted and repeated.
    """
    user = await find_user(db, email)
    if user is None:
        return False
    # The password first: whoever knows the old one must not become an admin.
    change = {"password_hash": password_hash, "updated_at": datetime.now(UTC)}
    await db.users.update_one({"_id": user["_id"]}, {"$set": change})
    await db.refresh_families.delete_many({"user_id": str(user["_id"])})
    await db.users.update_one({"_id": user["_id"]}, {"$set": {"role": ADMIN}})
    return True
