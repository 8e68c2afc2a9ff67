"""The auth service as a client sees it, with its store in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from argon2 import PasswordHasher
from pymongo.errors import AutoReconnect

from actors import CircuitBreakerConfig, Panel
from protocols.identity import ACCESS_SECONDS, REFRESH_SECONDS
from protocols.topology import AUTH_DATABASE
from runtime.auth import TokenVerifier
from services.auth.accounts import Accounts
from services.auth.app import OPEN_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.dependency import guard_database
from tests.services.auth.memory import MemoryStore
from tests.services.client import Answer, Caller

ADA = {"email": "ada@example.com", "password": "lovelace", "first_name": "Ada", "last_name": "Lovelace"}
CREDENTIALS = {"email": ADA["email"], "password": ADA["password"]}
POSTS = ["/signup", "/login", "/refresh", "/validate", "/logout"]


class Service:
    """The app, its store and its time."""

    def __init__(self, panel: Panel) -> None:
        self.now = 1_000_000.0
        self.store = MemoryStore()
        self.guard = guard_database(panel, CircuitBreakerConfig(name=AUTH_DATABASE), OPEN_MESSAGE)
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.accounts = Accounts(self.store, self.guard, self.passwords, lambda: self.now)
        self.call = Caller(create_app(self.accounts, panel), {})

    async def signup(self, token: str | None = None, **more: Any) -> Answer:
        return await self.call("POST", "/signup", {**ADA, **more}, headers=bearer(token))

    async def login(self, **more: Any) -> Answer:
        return await self.call("POST", "/login", {**CREDENTIALS, **more})

    async def refresh(self, token: str) -> Answer:
        return await self.call("POST", "/refresh", {"refresh_token": token})

    async def validate(self, token: str | None) -> Answer:
        return await self.call("POST", "/validate", headers=bearer(token))

    async def breaks(self) -> None:
        raise AutoReconnect("connection closed")


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def service(panel: Panel) -> Service:
    return Service(panel)


async def test_signup(service: Service) -> None:
    """An account is made and shown, without its password."""
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


async def test_signup_twice(service: Service) -> None:
    """The same address, in whatever letters, makes no second account."""
    await service.signup()
    answer = await service.signup(email="ADA@Example.com")
    assert (answer.status, answer.error) == (409, "USER_EXISTS")


async def test_roles(service: Service) -> None:
    """Admin is the first who asks to be, and whom an admin makes one; the others become users."""
    assert (await service.signup(role="admin")).data["role"] == "admin"
    admin = (await service.login()).data["access_token"]
    assert (await service.signup(email="b@example.com", role="admin")).data["role"] == "user"
    assert (await service.signup(admin, email="c@example.com", role="admin")).data["role"] == "admin"
    assert (await service.signup(admin, email="d@example.com")).data["role"] == "user"
    user = (await service.login(email="b@example.com")).data["access_token"]
    for token in (user, "garbage", ""):
        answer = await service.signup(token, email=f"{len(token)}@example.com", role="admin")
        assert (answer.status, answer.data["role"]) == (201, "user")


async def test_login(service: Service) -> None:
    """A login gives the user and two tokens, of which anybody can verify the first."""
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


async def test_wrong_credentials_look_alike(service: Service) -> None:
    """Unknown address and wrong password: one answer, one hash, the same questions to the database."""
    await service.signup()
    answers, work = [], []
    verified: list[str | None] = []
    verify = service.passwords._verify
    service.passwords._verify = lambda *a: (verified.append(a[1]), verify(*a))[1]  # type: ignore[method-assign]
    for more in ({"email": "nobody@example.com"}, {"password": "wrong password"}):
        service.store.operations.clear()
        answers.append(await service.login(**more))
        work.append([name for name in service.store.operations if name != "signing_key"])
    assert [(answer.status, answer.error) for answer in answers] == [(401, "INVALID_CREDENTIALS")] * 2
    assert answers[0].body == answers[1].body
    assert work[0] == work[1] == ["find_account"]
    assert len(verified) == 2


async def test_validate(service: Service) -> None:
    """A token tells whose it is until its fifteen minutes are over."""
    user = (await service.signup()).data
    token = (await service.login()).data["access_token"]
    answer = await service.validate(token)
    assert (answer.status, answer.body["message"]) == (200, "Token is valid")
    assert answer.data == {"user_id": user["id"], "email": user["email"]}
    service.now += ACCESS_SECONDS
    late = await service.validate(token)
    assert (late.status, late.error) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("path", ["/validate", "/logout"])
async def test_bearer_is_needed(service: Service, path: str) -> None:
    """Without a token, and with garbage for one."""
    for token, error in ((None, "MISSING_TOKEN"), ("garbage", "INVALID_TOKEN")):
        answer = await service.call("POST", path, {"refresh_token": "x"}, headers=bearer(token))
        assert (answer.status, answer.error) == (401, error)


async def test_refresh(service: Service) -> None:
    """A refresh token gives a new pair, both good."""
    await service.signup()
    first = (await service.login()).data
    answer = await service.refresh(first["refresh_token"])
    assert (answer.status, answer.body["message"]) == (200, "Token refreshed successfully")
    assert answer.data["refresh_token"] != first["refresh_token"]
    assert answer.data["access_token"] != first["access_token"]
    assert (await service.validate(answer.data["access_token"])).status == 200
    assert (await service.refresh(answer.data["refresh_token"])).status == 200


async def test_refresh_token_used_twice(service: Service) -> None:
    """The second use is refused, and takes the whole family with it; another login lives on."""
    await service.signup()
    first, other = [(await service.login()).data["refresh_token"] for _ in range(2)]
    second = (await service.refresh(first)).data["refresh_token"]
    for token in (first, second):
        answer = await service.refresh(token)
        assert (answer.status, answer.error) == (401, "INVALID_TOKEN")
    assert (await service.refresh(other)).status == 200


async def test_refresh_token_expires(service: Service) -> None:
    """After seven days it is no good."""
    await service.signup()
    token = (await service.login()).data["refresh_token"]
    service.now += REFRESH_SECONDS
    assert (await service.refresh(token)).status == 401


@pytest.mark.parametrize("token", ["", "x", "\x00", "a" * 32 + "." + "b" * 43, "." * 76])
async def test_refresh_with_garbage(service: Service, token: str) -> None:
    """What was never given out is refused."""
    answer = await service.refresh(token)
    assert (answer.status, answer.error) == (401, "INVALID_TOKEN")


async def test_logout(service: Service) -> None:
    """After it the refresh token is no good; doing it again is no error."""
    await service.signup()
    session = (await service.login()).data
    body = {"refresh_token": session["refresh_token"]}
    for _ in range(2):
        answer = await service.call("POST", "/logout", body, headers=bearer(session["access_token"]))
        assert answer.status == 200
    assert (await service.refresh(session["refresh_token"])).status == 401


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_wrong_method(service: Service, method: str, path: str) -> None:
    """Another method is an invalid request, as the health checks in the field expect."""
    response = await service.call._client.open(path, method=method)
    assert (response.status_code, response.content_type) == (400, "application/json")
    if method != "HEAD":
        assert (await response.get_json())["error"] == "INVALID_REQUEST"


@pytest.mark.parametrize("path", ["/", "/nothing", "/x//signup", "/signup/", "/../signup", "/%00", "/\ud7ff"])
async def test_unknown_path(service: Service, path: str) -> None:
    """Anything else is not found, and redirects nowhere."""
    answer = await service.call("POST", path, {})
    assert (answer.status, answer.error) == (404, "NOT_FOUND")


NOT_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"5",
    b"\xff\xfe",
    b'{"email": "\xff"}',
    b'{"email": NaN}',
    b'{"email": ' + b"9" * 5000 + b"}",
    b"[" * 200_000,
    b'{"email":' * 50_000,
    b"email=a&password=b",
]


@pytest.mark.parametrize("path", ["/signup", "/login", "/refresh"])
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
async def test_not_json(service: Service, path: str, body: bytes) -> None:
    """A body that isn't a JSON object is an invalid request."""
    answer = await service.call("POST", path, body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.error) == (400, "INVALID_REQUEST")


HOSTILE = [
    None,
    5,
    True,
    1e308,
    10**400,
    [],
    ["ada@example.com"],
    {"$ne": None},
    {"$gt": ""},
    "",
    " ",
    "\x00",
    "a\x00b@example.com",
    "\ud800@example.com",
    "a\u202eb@example.com",
    "not an address",
    "a@b@example.com",
    "a@" + "b" * 300 + ".com",
    "x" * 2_000_000,
]


@pytest.mark.parametrize("field", ["email", "first_name", "last_name", "password", "role"])
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_values(service: Service, field: str, value: Any) -> None:
    """Whatever a field holds, the answer is one of the contract's; the value isn't repeated in it."""
    body = json.dumps({**ADA, field: value}).encode()
    for path in ("/signup", "/login"):
        answer = await service.call("POST", path, body)
        assert answer.status in (200, 201, 400, 401)
        if answer.status == 400:
            assert answer.error == "VALIDATION_ERROR"
            assert field in answer.body["message"] or answer.body["message"] == "text must be valid Unicode"
            assert len(answer.body["message"]) < 300
    if field == "email":
        assert not service.store.accounts


@pytest.mark.parametrize("field", ["email", "password", "first_name", "last_name"])
async def test_missing_field(service: Service, field: str) -> None:
    """Each field is needed, and the one that is missing is named."""
    answer = await service.call("POST", "/signup", {k: v for k, v in ADA.items() if k != field})
    assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")
    assert answer.body["message"].startswith(f"{field}: ")


async def test_short_password(service: Service) -> None:
    """Five characters are too few, six are enough, and the password is not repeated."""
    answer = await service.signup(password="quite")
    assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")
    assert "quite" not in json.dumps(answer.body)
    assert (await service.signup(password="quiteX")).status == 201


async def test_content_types(service: Service) -> None:
    """A JSON body is JSON whatever the Content-Type says, and however often."""
    body = json.dumps(CREDENTIALS).encode()
    for kind in ("text/plain", "application/json, text/html", "\x7f", ""):
        assert (await service.call("POST", "/login", body, headers={"Content-Type": kind})).status == 401


async def test_large_body(service: Service) -> None:
    """More than the limit isn't taken in."""
    answer = await service.call("POST", "/signup", b"x" * 5_000_000)
    assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


async def test_database_fails_then_breaker_opens(service: Service) -> None:
    """Five failures are charged to the database's breaker, the sixth call is rejected without one."""
    await service.signup()
    service.store.fault = service.breaks
    for _ in range(5):
        answer = await service.login()
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert answer.headers["X-Failure-Origin"] == "auth-database"
    service.store.operations.clear()
    answer = await service.login()
    assert (answer.status, answer.error) == (503, "SERVICE_UNAVAILABLE")
    assert answer.body["message"] == "authentication service temporarily unavailable"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["X-Failure-Origin"] == "auth-database"
    assert service.store.operations == []
    health = await service.call("GET", "/health")
    assert (health.status, health.error) == (503, "PARTIAL_OUTAGE")
    assert health.data["auth-database"]["status"] == "unhealthy"
    assert health.data["auth-database"]["circuit_breaker"]["state"] == "OPEN"


async def test_each_operation_is_charged(service: Service, panel: Panel) -> None:
    """Every call that asks the database goes through its breaker, once for each time it fails."""
    await service.signup()
    session = (await service.login()).data
    service.store.fault = service.breaks
    body, token = {"refresh_token": session["refresh_token"]}, bearer(session["access_token"])
    for count, (path, sent) in enumerate(
        [("/signup", {**ADA}), ("/login", CREDENTIALS), ("/refresh", body), ("/logout", body)], start=1
    ):
        answer = await service.call("POST", path, sent, headers=token)
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert (await panel[AUTH_DATABASE].snapshot()).failure_count == count


async def test_what_needs_no_database_works_without(service: Service) -> None:
    """Once the signing key is known, tokens are validated while the database is gone."""
    await service.signup()
    token = (await service.login()).data["access_token"]
    service.store.fault = service.breaks
    assert (await service.validate(token)).status == 200
    assert (await service.call._client.get("/.well-known/jwks.json")).status_code == 200


async def test_started_without_a_database(service: Service, panel: Panel) -> None:
    """Health is answered; the keys are a database error that no breaker counts; then all works."""
    service.store.fault = service.breaks
    assert (await service.call("GET", "/health")).status == 200
    for _ in range(10):
        answer = await service.call("GET", "/.well-known/jwks.json")
        assert (answer.status, answer.error) == (503, "DATABASE_ERROR")
        assert "X-Failure-Origin" not in answer.headers
    assert (await panel[AUTH_DATABASE].snapshot()).failure_count == 0
    service.store.fault = trio.lowlevel.checkpoint
    assert (await service.signup()).status == 201


async def test_a_client_that_asks_for_the_keys_is_charged(service: Service, panel: Panel) -> None:
    """Through the gateway, which gives every request a deadline: the answer's origin has counted."""
    service.store.fault = service.breaks
    answers = [
        await service.call("GET", "/.well-known/jwks.json", headers={"X-Request-Timeout-Ms": "9500"})
        for _ in range(6)
    ]
    assert [answer.error for answer in answers] == ["DATABASE_ERROR"] * 5 + ["SERVICE_UNAVAILABLE"]
    assert {answer.headers["X-Failure-Origin"] for answer in answers} == {AUTH_DATABASE}
    assert (await panel[AUTH_DATABASE].snapshot()).counts["failure"] == 5


async def test_bad_input_counts_for_nothing(service: Service, panel: Panel) -> None:
    """Clients' mistakes, wrong passwords among them, leave the breaker alone."""
    await service.signup()
    for _ in range(6):
        await service.signup()
        await service.login(password="wrong")
        await service.login(email={"$ne": None})
    snapshot = await panel[AUTH_DATABASE].snapshot()
    assert (snapshot.failure_count, snapshot.counts["failure"]) == (0, 0)


async def test_a_client_that_leaves(service: Service, panel: Panel) -> None:
    """Its database operation is cancelled, and counts neither way."""
    await service.signup()
    entered, cancelled = trio.Event(), trio.Event()

    async def hangs() -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.set()
            raise

    service.store.fault = hangs
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.login)
        await entered.wait()
        nursery.cancel_scope.cancel()
    assert cancelled.is_set()
    counts = (await panel[AUTH_DATABASE].snapshot()).counts
    assert (counts["cancelled"], counts["failure"]) == (1, 0)


async def test_a_bug_is_an_internal_error(service: Service) -> None:
    """No trace of it reaches the client."""

    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    service.store.fault = bug
    answer = await service.login()
    assert (answer.status, answer.error) == (500, "INTERNAL_ERROR")
    assert "secret" not in json.dumps(answer.body)


async def test_request_id(service: Service) -> None:
    """The client's id comes back; one that can't be used is replaced."""
    for given, kept in (("abc-1", True), ("x" * 200, False), ("a b", False), ("", False)):
        answer = await service.call("GET", "/health", headers={"X-Request-ID": given})
        assert (answer.headers["X-Request-ID"] == given) == kept
        assert answer.headers["X-Request-ID"]


async def test_openapi(service: Service) -> None:
    """The document names every call, its body and its answers."""
    document = await (await service.call._client.get("/openapi.json")).get_json()
    assert set(document["paths"]) == {*POSTS, "/.well-known/jwks.json"}
    signup = document["paths"]["/signup"]["post"]
    assert {"201", "400", "409"} <= set(signup["responses"])
    assert "email" in json.dumps(signup["requestBody"])


async def test_probes_and_metrics(service: Service) -> None:
    """It lives, it is ready, and its breaker's metrics are there from the start."""
    assert (await service.call("GET", "/livez")).status == 200
    assert (await service.call("GET", "/readyz")).status == 200
    metrics = await service.call._client.get("/metrics")
    assert 'circuit_breaker_state{service="auth-database"} 0.0' in (await metrics.get_data()).decode()
