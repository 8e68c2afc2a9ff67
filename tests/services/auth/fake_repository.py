"""The auth service's repository in memory, with a switch that makes it fail or hang."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from services.auth.addresses.keys import address_key
from services.auth.records import User
from services.auth.repository import Account, NewUser
from services.auth.signing.key_ring import PUBLISHED_SECONDS, StoredKeys
from services.auth.tokens import RefreshSecret, SigningKey
from services.mongo.repository import UniqueViolation


async def works() -> None:
    """The default of `fault`: no fault."""
    await trio.lowlevel.checkpoint()


class FakeAccountRepository:
    """Keeps everything in dicts. `fault` is awaited first in each operation: it may raise or hang."""

    def __init__(self) -> None:
        self.fault: Callable[[], Awaitable[None]] = works
        self.operations: list[str] = []
        self.accounts: dict[str, Account] = {}
        self.families: dict[str, tuple[str, RefreshSecret, float]] = {}
        self._current = SigningKey.new()
        self._next: SigningKey | None = None
        self._signs_at = 0.0

    async def _begin(self, operation: str) -> None:
        self.operations.append(operation)
        await self.fault()

    async def signing_keys(self) -> StoredKeys:
        await self._begin("signing_keys")
        stored = StoredKeys(self._current)
        if self._next is not None:
            stored = StoredKeys(self._current, self._next, self._signs_at - trio.current_time())
            if stored.is_rotated:
                self._current, self._next = self._next, None
                return StoredKeys(self._current)
        return stored

    def begin_rotation(self) -> None:
        self._next, self._signs_at = SigningKey.new(), trio.current_time() + PUBLISHED_SECONDS

    async def add_user(self, new: NewUser) -> User | UniqueViolation:
        await self._begin("add_user")
        key = address_key(new.email)
        if key in self.accounts:
            return UniqueViolation("email")
        user = User(
            id=f"{len(self.accounts) + 1:024x}",
            email=new.email,
            first_name=new.first_name,
            last_name=new.last_name,
            role=new.role if self.accounts else new.first_role,
            created_at="2026-01-01T00:00:00.000Z",
            updated_at="2026-01-01T00:00:00.000Z",
        )
        self.accounts[key] = Account(user, new.password_hash)
        return user

    async def find_account(self, email: str) -> Account | None:
        await self._begin("find_account")
        return self.accounts.get(address_key(email))

    async def add_family(self, token: RefreshSecret, user_id: str, expires: float) -> None:
        await self._begin("add_family")
        self.families[token.family] = (user_id, token, expires)

    async def rotate(self, old: RefreshSecret, new: RefreshSecret, now: float, expires: float) -> User | None:
        await self._begin("rotate")
        user_id, current, ends = self.families.pop(old.family, ("", replace(old, digest=""), 0.0))
        if current != old or ends <= now:
            return None
        self.families[new.family] = (user_id, new, expires)
        return next(account.user for account in self.accounts.values() if account.user.id == user_id)

    async def revoke_family(self, family: str, user_id: str) -> None:
        await self._begin("revoke_family")
        if self.families.get(family, ("",))[0] == user_id:
            del self.families[family]
