"""Hashes are made in threads, a few at a time, and an unknown account costs one too."""

from __future__ import annotations

import threading
import time

import pytest
import trio
from argon2 import PasswordHasher

from services.auth.passwords import Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Watched(PasswordHasher):
    """Records hashes, threads and concurrency; takes 5 ms longer."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.seen: list[str] = []
        self.threads: set[int] = set()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def verify(self, stored: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.seen.append(str(stored))
            self.threads.add(threading.get_ident())
        time.sleep(0.005)
        try:
            return super().verify(stored, password)
        finally:
            with self._lock:
                self.running -= 1


async def test_a_hash_verifies_its_own_password_alone() -> None:
    """Garbage in the database verifies none."""
    passwords = Passwords(CHEAP)
    stored = await passwords.hash("lovelace")
    assert "lovelace" not in stored
    assert await passwords.verify("lovelace", stored) is True
    assert await passwords.verify("Lovelace", stored) is False
    assert await passwords.verify("lovelace", "garbage") is False


async def test_hashes_of_one_password_differ() -> None:
    """Each has a salt of its own."""
    passwords = Passwords(CHEAP)
    assert await passwords.hash("lovelace") != await passwords.hash("lovelace")


async def test_a_missing_account_costs_a_whole_hash() -> None:
    hasher = Watched()
    passwords = Passwords(hasher)
    stored = await passwords.hash("lovelace")
    await passwords.verify("wrong", stored)
    for password in ("wrong", "nobody has this password"):
        assert await passwords.verify(password, None) is False
    costs = [text.split("$")[1:4] for text in hasher.seen]
    assert costs == [["argon2id", "v=19", "m=8,t=1,p=1"]] * 3


async def test_the_number_of_concurrent_hashes_is_limited() -> None:
    """The event loop's thread hashes nothing."""
    hasher = Watched()
    passwords = Passwords(hasher, max_concurrent=2)
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(passwords.verify, "x", None)
    assert hasher.most == 2
    assert threading.get_ident() not in hasher.threads


async def test_a_cancelled_login_gives_up_its_place() -> None:
    hasher = Watched()
    passwords = Passwords(hasher, max_concurrent=1)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(passwords.verify, "x", None)
        await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert len(hasher.seen) < 25


@pytest.mark.parametrize("password", ["\x00" * 6, "pässwörd", "😀😀😀", "a" * 1024])
async def test_a_password_may_contain_any_text(password: str) -> None:
    passwords = Passwords(CHEAP)
    assert await passwords.verify(password, await passwords.hash(password))
