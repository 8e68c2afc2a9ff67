"""Hashes of passwords without threads."""

from __future__ import annotations

import trio
from argon2 import PasswordHasher

from services.auth.passwords import Passwords


class InlinePasswords(Passwords):
    """Passwords without threads: while one runs, a clock that jumps would take the process for idle."""

    def __init__(self) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

    async def hash(self, password: str, client: str = "") -> str:
        await trio.lowlevel.checkpoint()
        return f"hash of {password}"

    async def verify(self, password: str, stored: str | None, client: str = "") -> bool:
        return stored == await self.hash(password)
