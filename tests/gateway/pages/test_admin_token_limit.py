"""Bad admin tokens are limited for each client, in every process that has the admin API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from runtime.admin.api import BAD_TOKENS_PER_MINUTE, AdminAuthenticator
from runtime.auth import TokenError, TokenVerifier
from runtime.web.errors import ApiError
from tests.gateway.pages.admin_stack import ADMIN, TOKEN, open_admin_stack
from tests.tokens import Issuer

BAD = {"Authorization": "Bearer not-the-token-of-any-admin"}


async def statuses(app: Any, count: int, client: str, headers: dict[str, str]) -> list[int]:
    transport = httpx.ASGITransport(app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as caller:
        return [(await caller.get("/admin/breakers", headers=headers)).status_code for _ in range(count)]


@pytest.mark.parametrize("process", ["gateway", "auth"])
async def test_bad_tokens_of_one_client_are_refused_after_thirty(tmp_path: Path, process: str) -> None:
    """Others aren't affected: neither a client of another network, nor an admin's access token."""
    async with open_admin_stack(tmp_path) as stack:
        app: Any = stack.gateway.app if process == "gateway" else stack.lines["auth"].app
        assert await statuses(app, 32, "192.0.2.1", BAD) == [401] * 30 + [429] * 2
        assert await statuses(app, 1, "192.0.2.1", ADMIN) == [429]
        assert await statuses(app, 1, "192.0.2.2", ADMIN) == [200]
        assert await statuses(app, 1, "192.0.2.2", BAD) == [401]
        signed = {"Authorization": f"Bearer {stack.gateway.issuer.token('admin')}"}
        assert await statuses(app, 1, "192.0.2.1", signed) == [200]


async def test_a_limited_client_gets_retry_after(tmp_path: Path) -> None:
    async with open_admin_stack(tmp_path) as stack:
        for _ in range(BAD_TOKENS_PER_MINUTE):
            await stack.ask("GET", "/admin/breakers", BAD)
        answer = await stack.ask("GET", "/admin/breakers", BAD)
        assert answer.json() == {"error": "RATE_LIMITED", "message": "too many failed attempts"}
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def failures(authenticator: AdminAuthenticator, client: str, token: str, count: int = 1) -> list[str]:
    """The codes of `count` attempts; "" for an attempt that succeeds."""
    found = []
    for _ in range(count):
        try:
            authenticator.admit(f"Bearer {token}", client)
        except (ApiError, TokenError) as error:
            found.append(error.code.value)
        else:
            found.append("")
    return found


def test_missing_tokens_and_tokens_of_users_are_not_counted() -> None:
    issuer = Issuer()
    authenticator = AdminAuthenticator(issuer.keys, SecretStr(TOKEN))
    for _ in range(BAD_TOKENS_PER_MINUTE + 1):
        with pytest.raises(TokenError):
            authenticator.admit(None, "192.0.2.1")
    count = BAD_TOKENS_PER_MINUTE + 1
    assert failures(authenticator, "192.0.2.1", issuer.token("user"), count) == ["FORBIDDEN"] * count
    assert failures(authenticator, "192.0.2.1", TOKEN) == [""]


def test_an_ipv6_network_is_one_client() -> None:
    authenticator = AdminAuthenticator(Issuer().keys, SecretStr(TOKEN))
    for n in range(BAD_TOKENS_PER_MINUTE):
        failures(authenticator, f"2001:db8::{n:x}", "bad")
    assert failures(authenticator, "2001:db8::ffff", "bad") == ["RATE_LIMITED"]
    assert failures(authenticator, "2001:db8:0:1::1", "bad") == ["INVALID_TOKEN"]


def test_admin_token_works_and_guesses_count_before_the_first_key() -> None:
    authenticator = AdminAuthenticator(TokenVerifier(), SecretStr(TOKEN))
    assert failures(authenticator, "192.0.2.1", TOKEN) == [""]
    expected = ["SERVICE_UNAVAILABLE"] * BAD_TOKENS_PER_MINUTE + ["RATE_LIMITED"]
    assert failures(authenticator, "192.0.2.1", "bad", BAD_TOKENS_PER_MINUTE + 1) == expected


def test_the_limit_is_over_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    authenticator = AdminAuthenticator(Issuer().keys, SecretStr(TOKEN))
    failures(authenticator, "192.0.2.1", "bad", BAD_TOKENS_PER_MINUTE)
    assert failures(authenticator, "192.0.2.1", TOKEN) == ["RATE_LIMITED"]
    now += 60.5
    assert failures(authenticator, "192.0.2.1", TOKEN) == [""]
