"""Tokens are verified locally, from keys that are fetched in the background."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import trio
import trio.testing

from runtime.auth import (
    FETCH_SECONDS,
    BadToken,
    KeysUnavailable,
    MissingToken,
    TokenVerifier,
    bearer,
    jwks_over_http,
    require,
)
from services.auth.records import User
from services.auth.tokens import Signer, SigningKey
from tests.tokens import Issuer

USER = User(
    id="a" * 24, email="a@b.org", first_name="A", last_name="B", role="user", created_at="", updated_at=""
)
NOW = 1_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Source:
    """A scripted auth service: None fails, a document is an answer; the last one is repeated."""

    def __init__(self, *answers: Mapping[str, Any] | None) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []

    async def __call__(self) -> Mapping[str, Any]:
        self.asked.append(trio.current_time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise httpx.ConnectError("refused")
        return answer


@pytest.fixture
def signer() -> Signer:
    return Signer(SigningKey.new())


def known(signer: Signer, clock: Clock | None = None) -> TokenVerifier:
    keys = TokenVerifier(clock=clock or Clock())
    keys.replace(signer.jwks())
    return keys


async def test_a_valid_token_has_its_senders_identity(signer: Signer) -> None:
    identity = require(known(signer), f"Bearer {signer.issue(USER, NOW)}")
    assert (identity.user_id, identity.email, identity.role) == (USER.id, "a@b.org", "user")
    assert identity.expires_at == NOW + 900


async def test_a_token_expires_after_fifteen_minutes(signer: Signer) -> None:
    clock = Clock()
    keys, token = known(signer, clock), signer.issue(USER, NOW)
    clock.now = NOW + 899.9
    keys.verify(token)
    clock.now = NOW + 900
    with pytest.raises(BadToken, match="expired"):
        keys.verify(token)


async def test_a_token_signed_by_another_key_is_refused(signer: Signer) -> None:
    other = Signer(SigningKey(signer.jwks()["keys"][0]["kid"], SigningKey.new().secret))
    with pytest.raises(BadToken):
        known(signer).verify(other.issue(USER, NOW))


def _encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_hostile_token_raises_nothing_but_bad_token(signer: Signer) -> None:
    kid = signer.jwks()["keys"][0]["kid"]
    good = signer.issue(USER, NOW)
    header, claims, signature = good.split(".")
    nested = b'{"kid":' + b"[" * 3000 + b"}"
    hostile = [
        "x",
        "..",
        "a.b.c",
        "\ud800",
        "é.é.é",
        "x" * 100_000,
        good[:-2] + "zz",
        f"{header}.{_encoded({'sub': 'root'})}.{signature}",
        f"{_encoded({'alg': 'none', 'kid': kid})}.{claims}.",
        f"{_encoded({'alg': 'HS256', 'kid': kid})}.{claims}.{signature}",
        f"{_encoded({'alg': 'EdDSA', 'kid': {'$ne': None}})}.{claims}.{signature}",
        f"{_encoded({'alg': 'EdDSA'})}.{claims}.{signature}",
        f"{_encoded(nested)}.{claims}.{signature}",
        f"{_encoded([])}.{claims}.{signature}",
        jwt.encode({"sub": "x"}, "k" * 32, algorithm="HS256", headers={"kid": kid}),
    ]
    keys = known(signer)
    for token in hostile:
        with pytest.raises(BadToken):
            keys.verify(token)


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic abc", "token"])
def test_another_scheme_is_a_missing_token(value: str | None) -> None:
    with pytest.raises(MissingToken):
        bearer(value)


def test_the_scheme_is_not_case_sensitive() -> None:
    assert bearer("bearer  abc ") == "abc"


async def test_without_keys_no_token_can_be_verified(signer: Signer) -> None:
    with pytest.raises(KeysUnavailable):
        TokenVerifier().verify(signer.issue(USER, NOW))


async def test_the_first_keys_are_fetched_in_quick_attempts_then_every_five_minutes(
    signer: Signer, autojump_clock: trio.testing.MockClock
) -> None:
    source = Source(None, None, None, signer.jwks())
    keys = TokenVerifier(source, clock=Clock())
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        await trio.sleep(1)
        assert (len(source.asked), len(keys)) == (4, 1)
        await trio.sleep(299)
        assert len(source.asked) == 4
        await trio.sleep(2)
        assert len(source.asked) == 5
        nursery.cancel_scope.cancel()


async def test_a_failed_fetch_keeps_the_keys(signer: Signer, autojump_clock: trio.testing.MockClock) -> None:
    """Garbage is a failure."""
    source = Source(signer.jwks(), {"keys": "no"}, {"keys": [{"kty": "RSA"}, 5]}, None)
    keys = TokenVerifier(source, clock=Clock())
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        await trio.sleep(3600)
        assert keys.verify(signer.issue(USER, NOW)).email == "a@b.org"
        nursery.cancel_scope.cancel()
    assert len(source.asked) > 100


async def test_many_tokens_of_an_unknown_key_cause_one_fetch_within_seconds(
    signer: Signer, autojump_clock: trio.testing.MockClock
) -> None:
    newer = Signer(SigningKey.new())
    source = Source(signer.jwks(), newer.jwks())
    keys = TokenVerifier(source, clock=Clock())
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        await trio.sleep(1)
        for _ in range(50):
            with pytest.raises(BadToken):
                keys.verify(newer.issue(USER, NOW))
            await trio.sleep(0.01)
        assert len(source.asked) == 1
        await trio.sleep(6)
        assert keys.verify(newer.issue(USER, NOW))
        assert len(source.asked) == 2
        nursery.cancel_scope.cancel()


async def test_an_unknown_key_is_fetched_at_once_if_the_last_fetch_is_old(
    signer: Signer, autojump_clock: trio.testing.MockClock
) -> None:
    """One request is refused."""
    newer = Signer(SigningKey.new())
    keys = TokenVerifier(Source(signer.jwks(), newer.jwks()), clock=Clock())
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        await trio.sleep(60)
        with pytest.raises(BadToken):
            keys.verify(newer.issue(USER, NOW))
        await trio.sleep(0.01)
        assert keys.verify(newer.issue(USER, NOW))
        nursery.cancel_scope.cancel()


async def test_a_hanging_fetch_is_given_up(signer: Signer, autojump_clock: trio.testing.MockClock) -> None:
    asked = 0

    async def fetch() -> Mapping[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            await trio.sleep_forever()
        return signer.jwks()

    keys = TokenVerifier(fetch)
    async with trio.open_nursery() as nursery:
        await nursery.start(keys.run)
        await trio.sleep(6)
        assert len(keys) == 1
        nursery.cancel_scope.cancel()


async def test_cached_keys_survive_a_restart(signer: Signer, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "jwks.json"
    keys = TokenVerifier(Source(signer.jwks()), cache=cache, clock=Clock())
    with trio.move_on_after(0.2):
        await keys.run()
    again = TokenVerifier(Source(None), cache=cache, clock=Clock())
    assert again.verify(signer.issue(USER, NOW))
    assert [path.name for path in cache.parent.iterdir()] == ["jwks.json"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"keys": []}', b"[" * 100_000])
async def test_an_invalid_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "jwks.json"
    cache.write_bytes(content)
    assert len(TokenVerifier(cache=cache)) == 0


async def test_keys_are_fetched_from_their_well_known_path(signer: Signer) -> None:
    """An error status is a failure."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200 if len(seen) == 1 else 503, json=signer.jwks())

    fetch = jwks_over_http("http://auth:1", transport=httpx.MockTransport(answer))
    assert await fetch() == signer.jwks()
    with pytest.raises(httpx.HTTPStatusError):
        await fetch()
    assert seen[0] == "http://auth:1/.well-known/jwks.json"


async def test_a_failing_server_is_followed_by_the_next(signer: Signer) -> None:
    """The error of the last one is raised."""
    answers = {
        "dead": httpx.ConnectError("refused"),
        "failing": httpx.Response(503),
        "odd": httpx.Response(200, text="<html>"),
        "good": httpx.Response(200, json=signer.jwks()),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.host]
        if isinstance(found, Exception):
            raise found
        return found

    def fetch(hosts: str) -> Awaitable[Mapping[str, Any]]:
        urls = [f"http://{host}:1" for host in hosts.split()]
        return jwks_over_http(*urls, transport=httpx.MockTransport(answer))()

    assert await fetch("dead failing odd good") == signer.jwks()
    assert await fetch("good dead") == signer.jwks()
    with pytest.raises(httpx.HTTPStatusError):
        await fetch("dead failing")


async def test_a_silent_server_leaves_time_for_the_next(
    signer: Signer, autojump_clock: trio.testing.MockClock
) -> None:
    """Each server has its share of the time that a fetch may take."""

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == "silent":
                await trio.sleep_forever()
            return httpx.Response(200, json=signer.jwks())

    with trio.fail_after(FETCH_SECONDS):
        assert await jwks_over_http("http://silent", "http://good", transport=Transport())() == signer.jwks()


@pytest.mark.parametrize(("lifetime", "is_good"), [(900, True), (959, True), (961, False), (86_400, False)])
def test_a_token_that_is_valid_for_longer_than_any_is_refused(lifetime: int, is_good: bool) -> None:
    """The clocks of the auth service and of a verifier may differ by a minute."""
    issuer = Issuer()
    keys = TokenVerifier()
    keys.replace(issuer.document)
    token = issuer.token(lifetime=lifetime)
    if is_good:
        assert keys.verify(token).role == "user"
    else:
        with pytest.raises(BadToken, match="valid for longer"):
            keys.verify(token)
