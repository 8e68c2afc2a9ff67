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
    b'{"email": "a@b.org", "email": "c@d.org"}',
    b'{"email": {"a": 1, "a": 2}}',
    b'{"email": ' + b"9" * 5000 + b"}",
    b"[" * 200_000,
    b'{"email":' * 50_000,
    b"email=a&password=b",
]


@pytest.mark.parametrize("path", ["/signup", "/login", "/refresh"])
@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
async def test_a_body_that_is_no_json_object_is_an_invalid_request(
    service: Service, path: str, body: bytes
) -> None:
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
async def test_a_hostile_value_gets_one_of_the_contracts_errors(
    service: Service, field: str, value: Any
) -> None:
    """The value isn't repeated."""
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
async def test_a_missing_field_is_named(service: Service, field: str) -> None:
    answer = await service.call("POST", "/signup", {k: v for k, v in ADA.items() if k != field})
    assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")
    assert answer.body["message"].startswith(f"{field}: ")


async def test_a_password_of_five_characters_is_refused_and_not_repeated(service: Service) -> None:
    answer = await service.signup(password="quite")
    assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")
    assert "quite" not in json.dumps(answer.body)
    assert (await service.signup(password="quiteX")).status == 201


async def test_a_json_body_is_accepted_with_any_content_type(service: Service) -> None:
    body = json.dumps(CREDENTIALS).encode()
    for kind in ("text/plain", "application/json, text/html", "\x7f", ""):
        assert (await service.call("POST", "/login", body, headers={"Content-Type": kind})).status == 401


async def test_a_body_above_the_limit_is_refused(service: Service) -> None:
    answer = await service.call("POST", "/signup", b"x" * 5_000_000)
    assert (answer.status, answer.error) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_another_method_is_an_invalid_request(service: Service, method: str, path: str) -> None:
    response = await service.call._client.open(path, method=method)
    assert (response.status_code, response.content_type) == (400, "application/json")
    if method != "HEAD":
        assert (await response.get_json())["error"] == "INVALID_REQUEST"


@pytest.mark.parametrize("path", ["/", "/nothing", "/x//signup", "/signup/", "/../signup", "/%00", "/\ud7ff"])
async def test_an_unknown_path_is_404_without_a_redirect(service: Service, path: str) -> None:
    answer = await service.call("POST", path, {})
    assert (answer.status, answer.error) == (404, "NOT_FOUND")


async def test_invalid_input_and_wrong_passwords_count_on_no_breaker(service: Service, panel: Panel) -> None:
    await service.signup()
    for _ in range(6):
        await service.signup()
        await service.login(password="wrong")
        await service.login(email={"$ne": None})
    snapshot = await panel[AUTH_DATABASE].snapshot()
    assert (snapshot.failure_count, snapshot.counts["failure"]) == (0, 0)
