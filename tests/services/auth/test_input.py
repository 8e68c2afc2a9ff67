"""The auth service refuses bad input, and its breaker counts nothing for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors import Panel
from protocols.topology import AUTH_DATABASE
from tests.services.auth.auth_client import ADA, CREDENTIALS, Service

POSTS = ["/signup", "/login", "/refresh", "/validate", "/logout"]


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
        assert not service.repository.accounts


@pytest.mark.parametrize("field", ["email", "password", "first_name", "last_name"])
async def test_missing_field(service: Service, field: str) -> None:
    """Each field is required, and the error names a missing one."""
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
    """A JSON body is accepted with any Content-Type, also with several."""
    body = json.dumps(CREDENTIALS).encode()
    for kind in ("text/plain", "application/json, text/html", "\x7f", ""):
        assert (await service.call("POST", "/login", body, headers={"Content-Type": kind})).status == 401


async def test_large_body(service: Service) -> None:
    """A body above the limit is refused."""
    answer = await service.call("POST", "/signup", b"x" * 5_000_000)
    assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


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


async def test_bad_input_counts_for_nothing(service: Service, panel: Panel) -> None:
    """Clients' mistakes, wrong passwords among them, leave the breaker alone."""
    await service.signup()
    for _ in range(6):
        await service.signup()
        await service.login(password="wrong")
        await service.login(email={"$ne": None})
    snapshot = await panel[AUTH_DATABASE].snapshot()
    assert (snapshot.failure_count, snapshot.counts["failure"]) == (0, 0)
