"""Rotating the signing key: two keys in the key set, and no valid token is refused at any moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
import trio
import trio.lowlevel
from pymongo.errors import AutoReconnect
from trio.testing import MockClock

from actors import CircuitBreakerConfig, Panel, open_panel
from protocols.identity import ACCESS_SECONDS
from runtime.auth import REFRESH_SECONDS as VERIFIER_SECONDS
from runtime.auth import TokenVerifier
from services.auth.accounts import Accounts
from services.auth.schemas import Login, Signup
from services.auth.signing.key_ring import MAX_AGE_SECONDS, PUBLISHED_SECONDS, RETIRED_SECONDS
from services.auth.signing.stored_keys import begin_rotation, read_keys
from services.mongo.client import Database, MongoDatabase
from services.mongo.dependency import database_dependency
from tests.services.auth.auth_client import ADA, CREDENTIALS, Service
from tests.services.auth.fake_repository import FakeAccountRepository
from tests.tokens import Issuer
from tests.world.inline_passwords import InlinePasswords


class Fleet:
    """Three processes of the auth service on one database, and verifiers that fetch from them in turn."""

    def __init__(self, panels: list[Panel]) -> None:
        self.repository = FakeAccountRepository()
        self.services = [
            Accounts(
                self.repository,
                database_dependency(panel, CircuitBreakerConfig(name="auth-database"), "closed"),
                InlinePasswords(),
                trio.current_time,
            )
            for panel in panels
        ]
        self.verifiers = [TokenVerifier(self._fetch(number), clock=trio.current_time) for number in range(3)]
        self.tokens: list[tuple[float, str]] = []
        self.checked = 0

    def _fetch(self, number: int) -> Any:
        async def fetch() -> Mapping[str, Any]:
            return await self.services[number].poll_jwks()

        return fetch

    async def log_in(self) -> None:
        for service in self.services:
            _, token, _ = await service.login(Login(**CREDENTIALS))
            self.tokens.append((trio.current_time(), token))

    async def check(self) -> None:
        """Every token that has not expired is good, to every verifier and to every process."""
        now = trio.current_time()
        self.tokens = [(at, token) for at, token in self.tokens if now - at < ACCESS_SECONDS - 1]
        for _, token in [*self.tokens[:3], *self.tokens[-3:]]:
            for verifier in self.verifiers:
                verifier.verify(token)
            for service in self.services:
                await service.identify(f"Bearer {token}")
            self.checked += 1


def ids(document: Mapping[str, Any]) -> list[str]:
    return [key["kid"] for key in document["keys"]]


async def test_no_valid_token_is_refused_during_two_rotations(autojump_clock: MockClock) -> None:
    async with (
        open_panel() as one,
        open_panel() as two,
        open_panel() as three,
        trio.open_nursery() as nursery,
    ):
        fleet = Fleet([one, two, three])
        await fleet.services[0].signup(Signup(**ADA), None)
        for delay, verifier in enumerate(fleet.verifiers):
            nursery.start_soon(verifier.run)
            await trio.sleep(VERIFIER_SECONDS / 3 * (delay + 1) - 1)
        seen: dict[tuple[str, ...], int] = {}
        for step in range(300):
            if step in (10, 190):
                fleet.repository.begin_rotation()
            # The processes are idle for a while, as some behind a load balancer may be.
            await fleet.log_in() if step % 3 else await trio.lowlevel.checkpoint()
            await fleet.check()
            seen.setdefault(tuple(ids(await fleet.services[step % 3].jwks())), step)
            await trio.sleep(15.1)
        nursery.cancel_scope.cancel()
    first, second, third = [keys[0] for keys in seen if len(keys) == 1]
    assert list(seen) == [(first,), (first, second), (second,), (second, third), (third,)]
    assert fleet.checked > 1500


async def test_a_new_key_signs_only_after_every_verifier_could_fetch_it(
    service: Service, autojump_clock: MockClock
) -> None:
    await service.signup()
    [old] = ids(await service.accounts.jwks())
    service.repository.begin_rotation()
    began = trio.current_time()
    used: dict[str, float] = {}
    while len(used) < 2 or trio.current_time() - began < PUBLISHED_SECONDS + RETIRED_SECONDS + 60:
        token = (await service.login()).data["access_token"]
        used.setdefault(jwt.get_unverified_header(token)["kid"], trio.current_time() - began)
        listed = ids(await service.accounts.jwks())
        since = trio.current_time() - began
        if MAX_AGE_SECONDS < since < PUBLISHED_SECONDS + ACCESS_SECONDS:
            assert (len(listed), listed[0]) == (2, old)
        await trio.sleep(5)
    assert PUBLISHED_SECONDS >= MAX_AGE_SECONDS + VERIFIER_SECONDS
    assert PUBLISHED_SECONDS <= sorted(used.values())[1] <= PUBLISHED_SECONDS + 10
    assert old not in ids(await service.accounts.jwks())


async def test_keys_that_were_read_verify_and_are_published_without_a_database(
    service: Service, autojump_clock: MockClock
) -> None:
    await service.signup()
    token = (await service.login()).data["access_token"]
    service.repository.fault = service.breaks
    await trio.sleep(MAX_AGE_SECONDS * 2)
    assert (await service.validate(token)).status == 200
    assert len((await service.accounts.poll_jwks())["keys"]) == 1
    assert len((await service.accounts.jwks())["keys"]) == 1


async def test_forged_key_ids_cause_a_query_every_five_seconds_at_most(
    service: Service, autojump_clock: MockClock
) -> None:
    await service.signup()
    await service.login()
    forged = Issuer().token()
    before = service.repository.operations.count("signing_keys")
    for _ in range(50):
        assert (await service.validate(forged)).error in ("INVALID_TOKEN", "RATE_LIMITED")
        await trio.sleep(0.4)
    assert service.repository.operations.count("signing_keys") - before <= 5


async def hurry(database: Database, seconds: float) -> None:
    """Move a rotation's time back."""

    async def move(db: MongoDatabase) -> None:
        found = await db.signing_keys.find_one({"_id": "current"})
        assert found is not None
        earlier = found["next"]["signs_at"] - timedelta(seconds=seconds)
        await db.signing_keys.update_one({"_id": "current"}, {"$set": {"next.signs_at": earlier}})

    await database.run(move)


async def test_a_rotation_in_the_database(database: Database) -> None:
    first = (await database.run(read_keys)).current
    begun, was_added = await database.run(begin_rotation)
    assert was_added
    assert (begun.current, begun.signs_in) == (first, pytest.approx(PUBLISHED_SECONDS, abs=5))
    assert begun.next not in (None, first)
    again, was_added = await database.run(begin_rotation)
    assert not was_added
    assert (again.current, again.next) == (first, begun.next)
    await hurry(database, PUBLISHED_SECONDS + RETIRED_SECONDS - 30)
    assert (await database.run(read_keys)).current == first
    await hurry(database, 31)
    ended = await database.run(read_keys)
    assert (ended.current, ended.next) == (begun.next, None)

    async def stored(db: MongoDatabase) -> Any:
        return await db.signing_keys.find_one({})

    assert set(await database.run(stored)) == {"_id", "kid", "secret"}


async def test_concurrent_rotations_add_one_key_and_end_once(database: Database) -> None:
    results: list[Any] = []

    async def rotate() -> None:
        results.append(await database.run(begin_rotation))

    async def read() -> None:
        results.append(await database.run(read_keys))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(rotate)
    assert sorted(was_added for _, was_added in results) == [False] * 5 + [True]
    [upcoming] = {keys.next for keys, _ in results}
    await hurry(database, PUBLISHED_SECONDS + RETIRED_SECONDS + 1)
    results.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(read)
    assert {(keys.current, keys.next) for keys in results} == {(upcoming, None)}


async def test_a_reading_that_ends_late_does_not_undo_a_later_one(
    service: Service, autojump_clock: MockClock
) -> None:
    await service.signup()
    await service.login()
    late = await service.repository.signing_keys()

    async def slow() -> Any:
        await trio.sleep(2)
        return late

    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.accounts._read_ring, lambda _: slow())
        await trio.sleep(1)
        service.repository.begin_rotation()
        await service.accounts._read_ring(lambda operation: operation())
    assert len((await service.accounts.jwks())["keys"]) == 2


async def test_without_keys_the_key_set_fails_as_the_database_does(service: Service) -> None:
    service.repository.fault = service.breaks
    with pytest.raises(AutoReconnect):
        await service.accounts.poll_jwks()
