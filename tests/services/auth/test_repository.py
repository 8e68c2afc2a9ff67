"""The auth service's repository on a real MongoDB, above all under concurrent calls."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from services.auth.records import User
from services.auth.repository import MongoAccountRepository, NewUser
from services.auth.tokens import RefreshSecret, new_refresh_token
from services.mongo.client import Database
from services.mongo.repository import UniqueViolation

NOW = time.time()


@pytest.fixture
def repository(database: Database) -> MongoAccountRepository:
    return MongoAccountRepository(database)


def someone(email: str = "ada@example.com", role: str = "user", first_role: str = "user") -> NewUser:
    return NewUser(email, "hash", "Ada", "L", role, first_role, NOW)


async def together(*functions: Callable[[], Awaitable[Any]]) -> list[Any]:
    """The results of the functions, which run at the same time."""
    results: list[Any] = []

    async def one(function: Callable[[], Awaitable[Any]]) -> None:
        results.append(await function())

    async with trio.open_nursery() as nursery:
        for function in functions:
            nursery.start_soon(one, function)
    return results


def token(text: str) -> RefreshSecret:
    parsed = RefreshSecret.parse(text)
    assert parsed is not None
    return parsed


def new_token(family: str) -> RefreshSecret:
    return token(new_refresh_token(family))


async def test_concurrent_starts_on_an_empty_database_share_one_signing_key(
    repository: MongoAccountRepository,
) -> None:
    keys = await together(*[repository.signing_keys] * 10)
    assert len(set(keys)) == 1
    assert await repository.signing_keys() == keys[0]


async def test_a_taken_address_of_multi_byte_letters_is_a_violation(
    repository: MongoAccountRepository,
) -> None:
    """MongoDB quotes the address in its error, and cuts it within a letter."""
    for number in range(4):
        address = "a" * number + "\N{SNOWMAN}" * 60 + "@example.com"
        assert isinstance(await repository.add_user(someone(address)), User)
        assert await repository.add_user(someone(address)) == UniqueViolation("email")


async def test_an_account_is_found_in_any_spelling_of_its_address(repository: MongoAccountRepository) -> None:
    made = await repository.add_user(someone("Ada@Example.com"))
    found = await repository.find_account("aDA@example.COM")
    assert found is not None
    assert (found.user, found.password_hash) == (made, "hash")
    assert found.user.email == "Ada@Example.com"
    assert len(found.user.id) == 24


async def test_one_of_ten_concurrent_signups_with_one_address_succeeds(
    repository: MongoAccountRepository,
) -> None:
    await repository.add_user(someone("first@example.com"))
    made = await together(
        *[
            lambda n=n: repository.add_user(someone("ada@example.com"[:n].upper() + "ada@example.com"[n:]))
            for n in range(10)
        ]
    )
    assert sum(isinstance(user, User) for user in made) == 1


async def test_one_of_ten_concurrent_signups_on_an_empty_database_succeeds(
    repository: MongoAccountRepository,
) -> None:
    made = await together(*[lambda: repository.add_user(someone())] * 10)
    assert sum(isinstance(user, User) for user in made) == 1


async def test_one_of_twelve_concurrent_first_accounts_is_admin(repository: MongoAccountRepository) -> None:
    """All twelve accounts are created."""
    made = await together(
        *[lambda n=n: repository.add_user(someone(f"a{n}@example.com", "user", "admin")) for n in range(12)]
    )
    assert sorted(user.role for user in made) == ["admin"] + ["user"] * 11


async def test_the_second_account_is_a_user_if_the_first_is_no_admin(
    repository: MongoAccountRepository,
) -> None:
    await repository.add_user(someone("a@example.com"))
    second = await repository.add_user(someone("b@example.com", "user", "admin"))
    assert isinstance(second, User)
    assert second.role == "user"


async def test_an_account_beside_restored_ones_is_not_the_first(
    repository: MongoAccountRepository, database: Database
) -> None:
    """Restored from a backup without the claim."""
    await database.run(lambda db: db.users.insert_one({"email_key": "x@example.com"}))
    made = await repository.add_user(someone("a@example.com", "user", "admin"))
    assert isinstance(made, User)
    assert made.role == "user"


async def login(repository: MongoAccountRepository) -> tuple[str, str]:
    user = await repository.add_user(someone())
    assert isinstance(user, User)
    text = new_refresh_token()
    await repository.add_family(token(text), user.id, NOW + 1000)
    return text, user.id


async def test_a_refresh_token_is_replaced_by_the_next(repository: MongoAccountRepository) -> None:
    first, user_id = await login(repository)
    for _ in range(3):
        following = new_refresh_token(token(first).family)
        user = await repository.rotate(token(first), token(following), NOW, NOW + 1000)
        assert user is not None
        assert user.id == user_id
        first = following


async def test_a_second_use_of_a_token_revokes_its_family(repository: MongoAccountRepository) -> None:
    first, _ = await login(repository)
    second, third = (new_refresh_token(token(first).family) for _ in range(2))
    assert await repository.rotate(token(first), token(second), NOW, NOW + 1000)
    assert await repository.rotate(token(first), token(third), NOW, NOW + 1000) is None
    assert await repository.rotate(token(second), token(third), NOW, NOW + 1000) is None


async def test_one_of_ten_concurrent_uses_of_a_token_succeeds(repository: MongoAccountRepository) -> None:
    first, _ = await login(repository)
    rotated = await together(
        *[
            lambda: repository.rotate(
                token(first), token(new_refresh_token(token(first).family)), NOW, NOW + 1000
            )
        ]
        * 10
    )
    assert sum(user is not None for user in rotated) == 1


async def test_an_expired_token_is_refused(repository: MongoAccountRepository) -> None:
    """This holds before and after MongoDB deletes it."""
    first, _ = await login(repository)
    following = token(new_refresh_token(token(first).family))
    assert await repository.rotate(token(first), following, NOW + 1000, NOW + 2000) is None


async def test_only_its_user_revokes_a_family(repository: MongoAccountRepository) -> None:
    first, user_id = await login(repository)
    family = token(first).family
    await repository.revoke_family(family, "f" * 24)
    second = new_refresh_token(family)
    assert await repository.rotate(token(first), token(second), NOW, NOW + 1000)
    await repository.revoke_family(family, user_id)
    assert await repository.rotate(token(second), token(first), NOW, NOW + 1000) is None


async def test_indexes_keep_addresses_unique_and_expire_families(
    repository: MongoAccountRepository, database: Database
) -> None:
    await repository.add_user(someone())
    users = await database.run(lambda db: db.users.index_information())
    families = await database.run(lambda db: db.refresh_families.index_information())
    assert users["email_key_1"]["unique"] is True
    assert families["expires_at_1"]["expireAfterSeconds"] == 0


async def test_refresh_tokens_are_stored_as_hashes(
    repository: MongoAccountRepository, database: Database
) -> None:
    first, _ = await login(repository)
    (stored,) = await database.run(lambda db: db.refresh_families.find({}).to_list())
    assert first.partition(".")[2] not in repr(stored)


async def test_a_refresh_token_that_is_valid_for_longer_than_any_is_refused(
    repository: MongoAccountRepository,
) -> None:
    """It can't be ours. Its family ends."""
    user = await repository.add_user(someone())
    assert isinstance(user, User)
    week = 7 * 24 * 3600
    for lifetime, is_good in ((week, True), (week + 30, True), (week + 120, False)):
        old = token(new_refresh_token())
        new = token(new_refresh_token(old.family))
        await repository.add_family(old, user.id, NOW + lifetime)
        assert (await repository.rotate(old, new, NOW, NOW + week) == user) is is_good
        if not is_good:
            assert await repository.rotate(new, old, NOW, NOW + week) is None
