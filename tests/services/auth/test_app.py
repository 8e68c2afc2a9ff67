"""The auth service over HTTP, with its repository in memory."""

from __future__ import annotations

import json

import pytest

from protocols.identity import ACCESS_SECONDS, REFRESH_SECONDS
from runtime.auth import TokenVerifier
from tests.services.auth.auth_client import ADA, Service, bearer

POSTS = ["/signup", "/login", "/refresh", "/validate", "/logout"]


async def test_signup_creates_an_account_and_shows_no_password(service: Service) -> None:
    answer = await service.signup()
    assert (answer.status, answer.body["message"]) == (201, "User created successfully")
    assert answer.data == {
        "id": answer.data["id"],
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "role": "user",
        "created_at": answer.data["created_at"],
        "updated_at": answer.data["updated_at"],
    }
    assert len(answer.data["id"]) == 24


async def test_a_second_signup_with_the_same_address_is_refused(service: Service) -> None:
    """In any spelling."""
    await service.signup()
    answer = await service.signup(email="ADA@Example.com")
    assert (answer.status, answer.error) == (409, "USER_EXISTS")


async def test_only_the_first_account_and_accounts_by_an_admin_may_be_admins(service: Service) -> None:
    assert (await service.signup(role="admin")).data["role"] == "admin"
    admin = (await service.login()).data["access_token"]
    assert (await service.signup(email="b@example.com", role="admin")).data["role"] == "user"
    assert (await service.signup(admin, email="c@example.com", role="admin")).data["role"] == "admin"
    assert (await service.signup(admin, email="d@example.com")).data["role"] == "user"
    user = (await service.login(email="b@example.com")).data["access_token"]
    for token in (user, "garbage", ""):
        answer = await service.signup(token, email=f"{len(token)}@example.com", role="admin")
        assert (answer.status, answer.data["role"]) == (201, "user")


async def test_login_returns_the_user_and_two_tokens(service: Service) -> None:
    """The access token can be verified by anyone."""
    user = (await service.signup()).data
    answer = await service.login(email="Ada@EXAMPLE.com")
    assert (answer.status, answer.body["message"]) == (200, "Login successful")
    assert answer.data["user"] == user
    jwks = await (await service.call._client.get("/.well-known/jwks.json")).get_json()
    keys = TokenVerifier(clock=lambda: service.now)
    keys.replace(jwks)
    identity = keys.verify(answer.data["access_token"])
    assert (identity.user_id, identity.email, identity.role) == (user["id"], ADA["email"], "user")
    assert "d" not in jwks["keys"][0]


async def test_an_unknown_address_and_a_wrong_password_look_alike(service: Service) -> None:
    """In the response, the hashing and the database operations."""
    await service.signup()
    answers, work = [], []
    verified: list[str | None] = []
    verify = service.passwords._verify
    service.passwords._verify = lambda *a: (verified.append(a[1]), verify(*a))[1]  # type: ignore[method-assign]
    for more in ({"email": "nobody@example.com"}, {"password": "wrong password"}):
        service.repository.operations.clear()
        answers.append(await service.login(**more))
        work.append([name for name in service.repository.operations if name != "signing_keys"])
    assert [(answer.status, answer.error) for answer in answers] == [(401, "INVALID_CREDENTIALS")] * 2
    assert answers[0].body == answers[1].body
    assert work[0] == work[1] == ["find_account"]
    assert len(verified) == 2


async def test_validate_returns_the_tokens_user_for_fifteen_minutes(service: Service) -> None:
    user = (await service.signup()).data
    token = (await service.login()).data["access_token"]
    answer = await service.validate(token)
    assert (answer.status, answer.body["message"]) == (200, "Token is valid")
    assert answer.data == {"user_id": user["id"], "email": user["email"]}
    service.now += ACCESS_SECONDS
    late = await service.validate(token)
    assert (late.status, late.error) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("path", ["/validate", "/logout"])
async def test_a_request_without_a_valid_token_is_401(service: Service, path: str) -> None:
    for token, error in ((None, "MISSING_TOKEN"), ("garbage", "INVALID_TOKEN")):
        answer = await service.call("POST", path, {"refresh_token": "x"}, headers=bearer(token))
        assert (answer.status, answer.error) == (401, error)


async def test_refresh_returns_a_new_pair_of_tokens(service: Service) -> None:
    await service.signup()
    first = (await service.login()).data
    answer = await service.refresh(first["refresh_token"])
    assert (answer.status, answer.body["message"]) == (200, "Token refreshed successfully")
    assert answer.data["refresh_token"] != first["refresh_token"]
    assert answer.data["access_token"] != first["access_token"]
    assert (await service.validate(answer.data["access_token"])).status == 200
    assert (await service.refresh(answer.data["refresh_token"])).status == 200


async def test_a_second_use_of_a_refresh_token_revokes_its_family(service: Service) -> None:
    """Another login goes on."""
    await service.signup()
    first, other = [(await service.login()).data["refresh_token"] for _ in range(2)]
    second = (await service.refresh(first)).data["refresh_token"]
    for token in (first, second):
        answer = await service.refresh(token)
        assert (answer.status, answer.error) == (401, "INVALID_TOKEN")
    assert (await service.refresh(other)).status == 200


async def test_a_refresh_token_expires_after_seven_days(service: Service) -> None:
    await service.signup()
    token = (await service.login()).data["refresh_token"]
    service.now += REFRESH_SECONDS
    assert (await service.refresh(token)).status == 401


@pytest.mark.parametrize("token", ["", "x", "\x00", "a" * 32 + "." + "b" * 43, "." * 76])
async def test_an_unknown_refresh_token_is_refused(service: Service, token: str) -> None:
    answer = await service.refresh(token)
    assert (answer.status, answer.error) == (401, "INVALID_TOKEN")


async def test_logout_revokes_the_refresh_token(service: Service) -> None:
    """A second logout is no error."""
    await service.signup()
    session = (await service.login()).data
    body = {"refresh_token": session["refresh_token"]}
    for _ in range(2):
        answer = await service.call("POST", "/logout", body, headers=bearer(session["access_token"]))
        assert answer.status == 200
    assert (await service.refresh(session["refresh_token"])).status == 401


async def test_an_unexpected_error_is_500_without_details(service: Service) -> None:
    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    service.repository.fault = bug
    answer = await service.login()
    assert (answer.status, answer.error) == (500, "INTERNAL_ERROR")
    assert "secret" not in json.dumps(answer.body)


async def test_a_valid_request_id_is_returned_and_an_invalid_one_replaced(service: Service) -> None:
    for given, kept in (("abc-1", True), ("x" * 200, False), ("a b", False), ("", False)):
        answer = await service.call("GET", "/health", headers={"X-Request-ID": given})
        assert (answer.headers["X-Request-ID"] == given) == kept
        assert answer.headers["X-Request-ID"]


async def test_the_document_has_every_call_with_body_and_responses(service: Service) -> None:
    document = await (await service.call._client.get("/openapi.json")).get_json()
    assert set(document["paths"]) == {*POSTS, "/.well-known/jwks.json"}
    signup = document["paths"]["/signup"]["post"]
    assert {"201", "400", "409"} <= set(signup["responses"])
    assert "email" in json.dumps(signup["requestBody"])


async def test_livez_readyz_and_the_breakers_metrics_exist_from_the_start(service: Service) -> None:
    assert (await service.call("GET", "/livez")).status == 200
    assert (await service.call("GET", "/readyz")).status == 200
    metrics = await service.call._client.get("/metrics")
    assert 'circuit_breaker_state{service="auth-database"} 0.0' in (await metrics.get_data()).decode()
