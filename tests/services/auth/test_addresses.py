"""One address, one account: keys of today's form, and those of earlier releases on a real MongoDB."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
from bson import ObjectId
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from services.auth.addresses.keys import RULE, address_key, earlier_key
from services.auth.addresses.rewrite import rewrite_addresses
from services.auth.repository import MongoAccountRepository, NewUser
from services.mongo.client import Database
from services.mongo.repository import UniqueViolation
from tests.services.auth.auth_client import Service

NOW = time.time()


def someone(email: str) -> NewUser:
    return NewUser(email, "hash", "Ada", "L", "user", "user", NOW)


class Accounts:
    """Accounts in MongoDB, among them some as an earlier release has stored them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.repository = MongoAccountRepository(database)

    async def add_earlier(self, *emails: str) -> list[str]:
        """Add accounts of an earlier release, the oldest first; return their ids."""
        await self.repository.add_user(someone("first@example.com"))
        documents = [
            {
                "_id": ObjectId(),
                "email": email,
                "email_key": earlier_key(email),
                "password_hash": email,
                "first_name": "A",
                "last_name": "B",
                "role": "user",
                "created_at": trio_now(),
                "updated_at": trio_now(),
            }
            for email in emails
        ]
        await self.database.run(lambda db: db.users.insert_many(documents))
        return [str(document["_id"]) for document in documents]

    async def find(self, email: str) -> str | None:
        found = await self.repository.find_account(email)
        return None if found is None else found.user.id

    async def keys(self) -> dict[str, tuple[str, int | None]]:
        async def read(db: Any) -> dict[str, tuple[str, int | None]]:
            return {str(u["_id"]): (u["email_key"], u.get("email_rule")) async for u in db.users.find({})}

        return await self.database.run(read)


def trio_now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


async def test_spellings_of_one_address_make_one_account(accounts: Accounts) -> None:
    made = await accounts.repository.add_user(someone("ada@münchen.de"))
    assert not isinstance(made, UniqueViolation)
    for spelling in ("ada@münchen.de", "ADA@xn--mnchen-3ya.de", "ada\uff20MÜNCHEN.de"):
        assert await accounts.repository.add_user(someone(spelling)) == UniqueViolation("email")
        assert await accounts.find(spelling) == made.id
    assert await accounts.find("ada@munchen.de") is None


async def test_an_earlier_account_is_found_before_and_after_the_rewriting(accounts: Accounts) -> None:
    [ada, eve] = await accounts.add_earlier("Ada@München.de", "a@straße.de")
    for _ in range(2):
        assert await accounts.find("ada@MÜNCHEN.de") == ada
        assert await accounts.find("a@straße.de") == eve
        await rewrite_addresses(accounts.database)
    assert await accounts.find("ada@xn--mnchen-3ya.de") == ada
    assert (await accounts.keys())[ada] == ("ada@xn--mnchen-3ya.de", RULE)
    # Under the earlier rule the other account had this address.
    other = await accounts.repository.add_user(someone("a@strasse.de"))
    assert not isinstance(other, UniqueViolation)
    assert await accounts.find("a@straße.de") == eve
    assert await accounts.find("a@strasse.de") == other.id


async def test_two_accounts_with_one_address_both_log_in_as_before(accounts: Accounts) -> None:
    """The account with a key in today's form keeps its key."""
    first, second = await accounts.add_earlier("ada@münchen.de", "ada@xn--mnchen-3ya.de")
    with capture_logs() as lines:
        await rewrite_addresses(accounts.database)
        await rewrite_addresses(accounts.database)
    for email, owner in (("Ada@MÜNCHEN.de", first), ("ADA@xn--mnchen-3ya.de", second)):
        assert await accounts.find(email) == owner
        assert await accounts.repository.add_user(someone(email)) == UniqueViolation("email")
    assert [(line["id"], line["other"]) for line in lines if "other" in line] == [(first, second)] * 2
    assert "nchen" not in str(lines)


async def test_of_two_accounts_with_earlier_keys_the_older_gets_the_new_one(accounts: Accounts) -> None:
    older, younger = await accounts.add_earlier("ada@münchen。de", "ada@münchen.de")
    await rewrite_addresses(accounts.database)
    assert (await accounts.keys())[older] == ("ada@xn--mnchen-3ya.de", RULE)
    assert (await accounts.keys())[younger] == ("ada@münchen.de", None)
    assert await accounts.find("ada@münchen.de") == younger
    assert await accounts.find("ada@xn--mnchen-3ya.de") == older


async def test_three_processes_that_start_together_rewrite_every_account_once(accounts: Accounts) -> None:
    emails = [f"a{n}@münchen{n}.de" for n in range(150)]
    ids = await accounts.add_earlier(*emails)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(rewrite_addresses, accounts.database)
    keys = await accounts.keys()
    assert [keys[one] for one in ids] == [(address_key(email), RULE) for email in emails]
    await rewrite_addresses(accounts.database)
    assert await accounts.keys() == keys


async def test_an_address_that_is_no_longer_valid_logs_in_as_before(accounts: Accounts) -> None:
    [odd, eve] = await accounts.add_earlier("a..b@my_host", "eve@example.com")
    with capture_logs() as lines:
        await rewrite_addresses(accounts.database)
    assert await accounts.find("A..B@my_host") == odd
    assert (await accounts.keys())[eve] == ("eve@example.com", RULE)
    assert [line["id"] for line in lines] == [odd]


async def test_the_rewriting_waits_for_a_database_that_is_down(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    [ada] = await accounts.add_earlier("ada@münchen.de")
    run, failures = accounts.database.run, 1

    async def flaky(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise AutoReconnect("down")
        return await run(*args, **kwargs)

    monkeypatch.setattr(accounts.database, "run", flaky)
    monkeypatch.setattr("services.auth.addresses.rewrite.RETRY_SECONDS", (0.01,))
    await rewrite_addresses(accounts.database)
    assert (await accounts.keys())[ada] == ("ada@xn--mnchen-3ya.de", RULE)


async def test_signup_refuses_another_spelling_and_login_accepts_it(service: Service) -> None:
    assert (await service.signup(email="Ada@München.de")).data["email"] == "Ada@München.de"
    again = await service.signup(email="ada@xn--mnchen-3ya.de")
    assert (again.status, again.error) == (409, "USER_EXISTS")
    assert (await service.login(email="ADA\uff20münchen.de")).status == 200


@pytest.mark.parametrize("field", ["email", "first_name", "last_name", "password"])
async def test_a_field_with_an_invisible_character_is_named(service: Service, field: str) -> None:
    for letter in "\x00\u202e\u200b":
        answer = await service.signup(**{field: f"ada{letter}lovelace@example.com"})
        assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")
        assert answer.body["message"].startswith(f"{field}: ")
