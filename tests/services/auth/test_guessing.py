"""Guessing passwords and tokens is limited, only for the client that guesses."""

from __future__ import annotations

import time
from typing import Any

import limits.storage.memory
import limits.strategies
import pytest
import trio

from actors import Panel
from protocols.http import Code
from protocols.topology import AUTH_DATABASE
from runtime.web import failure_limit
from runtime.web.errors import ApiError
from services.auth.limits.guessing import PER_ACCOUNT, PER_CLIENT, GuessLimiter
from tests.services.api_client import ApiResponse
from tests.services.auth.auth_client import ADA, Service, bearer


class Clock:
    """Replaces the module `time` in the counters of failures."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (limits.storage.memory, limits.strategies, failure_limit):
        monkeypatch.setattr(module, "time", clock, raising=False)
    return clock


async def fail(limiter: GuessLimiter, client: str = "1.2.3.4", account: str = "ada") -> ApiError | None:
    """Make an attempt that fails. Return the refusal if it is refused before it is tried."""
    try:
        async with limiter.attempt(client, account) as attempt:
            attempt.fail()
    except ApiError as error:
        return error
    return None


async def test_twenty_failures_for_an_account_are_allowed_in_a_minute(clock: Clock) -> None:
    limiter = GuessLimiter()
    assert [await fail(limiter) for _ in range(PER_ACCOUNT)] == [None] * 20
    clock.now += 20
    refused = await fail(limiter)
    assert refused is not None
    assert (refused.code, refused.status) == (Code.RATE_LIMITED, 429)
    assert refused.retry_after == pytest.approx(40, abs=0.1)


async def test_a_limited_client_is_admitted_again_within_a_minute_even_if_it_goes_on(clock: Clock) -> None:
    limiter = GuessLimiter()
    while await fail(limiter) is None:
        pass
    for _ in range(60):
        clock.now += 1
        await fail(limiter)
    clock.now += 0.1
    assert await fail(limiter) is None


async def test_sixty_failures_for_any_accounts_are_allowed_in_a_minute(clock: Clock) -> None:
    limiter = GuessLimiter()
    outcomes = [await fail(limiter, account=str(number)) for number in range(PER_CLIENT + 1)]
    assert outcomes[:60] == [None] * 60
    assert outcomes[60] is not None


async def test_only_the_client_that_guesses_is_limited(clock: Clock) -> None:
    limiter = GuessLimiter()
    while await fail(limiter) is None:
        pass
    assert await fail(limiter, client="1.2.3.5") is None
    assert await fail(limiter, account="bob") is None


async def test_successes_are_never_limited(clock: Clock) -> None:
    limiter = GuessLimiter()
    for _ in range(500):
        async with limiter.attempt("1.2.3.4", "ada"):
            pass


async def test_attempts_at_the_same_time_are_no_more_guesses(clock: Clock) -> None:
    limiter = GuessLimiter()
    guesses: list[bool] = []

    async def guess() -> None:
        try:
            async with limiter.attempt("1.2.3.4", "ada") as attempt:
                await trio.lowlevel.checkpoint()
                attempt.fail()
            guesses.append(True)
        except ApiError:
            guesses.append(False)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(guess)
    assert (guesses.count(True), guesses.count(False)) == (20, 30)


async def test_right_passwords_at_the_same_time_are_all_accepted(clock: Clock) -> None:
    limiter = GuessLimiter()
    running = most = done = 0

    async def log_in() -> None:
        nonlocal running, most, done
        async with limiter.attempt("1.2.3.4", "ada"):
            running += 1
            most = max(most, running)
            await trio.sleep(0.001)
            running -= 1
        done += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(log_in)
    assert (done, most) == (50, 20)
    assert not limiter._ended


async def test_the_counts_of_attempts_that_have_ended_take_no_memory(clock: Clock) -> None:
    limiter = GuessLimiter()
    for number in range(100):
        await fail(limiter, client=str(number))
    assert not limiter._running
    clock.now += 61
    await fail(limiter, client="last")
    clock.now += 10
    await fail(limiter, client="last")
    storage: Any = limiter._limiter.storage
    assert len(storage.events) <= 2


@pytest.fixture
def limited(service: Service, clock: Clock) -> Service:
    return service


FROM = "X-Forwarded-For"
HERE = {"scope_base": {"client": ("127.0.0.1", 4711)}}


async def login(service: Service, client: str, **more: Any) -> ApiResponse:
    body = {"email": ADA["email"], "password": ADA["password"], **more}
    return await service.call("POST", "/login", body, headers={FROM: client}, **HERE)


async def test_a_client_that_guesses_a_password_is_refused_even_with_the_right_one(limited: Service) -> None:
    """Its owner logs in from elsewhere."""
    await limited.signup()
    for _ in range(20):
        assert (await login(limited, "192.0.2.1", password="wrong")).error == "INVALID_CREDENTIALS"
    refused = await login(limited, "192.0.2.1")
    assert (refused.status, refused.error) == (429, "RATE_LIMITED")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert (await login(limited, "192.0.2.2")).status == 200


async def test_known_and_unknown_accounts_are_limited_alike(limited: Service) -> None:
    await limited.signup()

    async def answers(email: str, client: str) -> list[tuple[int, Any, Any]]:
        made = [await login(limited, client, email=email, password="wrong") for _ in range(22)]
        return [(one.status, one.body, one.headers.get("Retry-After")) for one in made]

    assert await answers(ADA["email"], "192.0.2.1") == await answers("nobody@example.com", "192.0.2.2")


async def test_the_spelling_of_an_address_gives_no_further_guesses(limited: Service) -> None:
    for number in range(20):
        email = "ada@example.com"[:number].upper() + "ada@example.com"[number:]
        assert (await login(limited, "192.0.2.1", email=email, password="wrong")).status == 401
    assert (await login(limited, "192.0.2.1", email="ada\uff20example.com", password="x")).status == 429


async def test_addresses_of_one_ipv6_network_are_one_client(limited: Service) -> None:
    for number in range(20):
        assert (await login(limited, f"2001:db8::{number:x}", password="wrong")).status == 401
    assert (await login(limited, "2001:db8::ffff", password="wrong")).status == 429
    assert (await login(limited, "2001:db8:0:1::1", password="wrong")).status == 401


async def test_input_that_is_no_attempt_is_not_counted(limited: Service) -> None:
    for _ in range(70):
        assert (await login(limited, "192.0.2.1", email="nonsense")).status == 400
    assert (await login(limited, "192.0.2.1", password="wrong")).status == 401


@pytest.mark.parametrize("path", ["/refresh", "/validate", "/logout"])
async def test_bad_tokens_are_limited_and_good_ones_are_not(limited: Service, path: str) -> None:
    await limited.signup()
    session = (await login(limited, "192.0.2.9")).data

    async def send(access: str, refresh: str) -> ApiResponse:
        headers = {FROM: "192.0.2.1", **bearer(access)}
        return await limited.call("POST", path, {"refresh_token": refresh}, headers=headers, **HERE)

    bad = [await send("x.y.z", "nonsense") for _ in range(62)]
    assert [one.status for one in bad] == [401] * 60 + [429] * 2
    assert bad[60].error == "RATE_LIMITED"
    assert 1 <= int(bad[60].headers["Retry-After"]) <= 60
    assert (await send(session["access_token"], session["refresh_token"])).status == 200
    assert (await login(limited, "192.0.2.1")).status == 429


async def test_a_missing_token_is_no_failed_attempt(limited: Service) -> None:
    for _ in range(70):
        assert (await limited.validate(None)).error == "MISSING_TOKEN"


async def test_refusals_count_on_no_breaker(limited: Service, panel: Panel) -> None:
    for _ in range(30):
        await login(limited, "192.0.2.1", password="wrong")
    snapshot = await panel[AUTH_DATABASE].snapshot()
    assert snapshot.counts["failure"] == 0


async def test_a_refused_attempt_costs_neither_a_query_nor_a_hash(limited: Service) -> None:
    for _ in range(20):
        await login(limited, "192.0.2.1", password="wrong")
    before = len(limited.repository.operations)
    assert (await login(limited, "192.0.2.1", password="wrong")).status == 429
    assert len(limited.repository.operations) == before


async def test_a_forged_client_is_ignored_unless_a_gateway_names_it(limited: Service) -> None:
    elsewhere = {"scope_base": {"client": ("198.51.100.1", 4711)}}
    body = {"email": ADA["email"], "password": "wrong"}
    statuses = []
    for number in range(21):
        headers = {FROM: f"192.0.2.{number}"}
        answer = await limited.call("POST", "/login", body, headers=headers, **elsewhere)
        statuses.append(answer.status)
    assert statuses == [401] * 20 + [429]
