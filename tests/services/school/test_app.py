"""The school service over HTTP, on a repository in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, Panel
from runtime.auth import TokenVerifier
from services.mongo.dependency import database_dependency
from services.school.app import REJECTION_MESSAGE, create_app
from services.school.schemas import UNIQUE
from tests.services.api_client import Caller
from tests.tokens import Issuer
from tests.world.fake_repositories import FakeRepository

CONFIG = CircuitBreakerConfig(name="school-database", max_failures=5, reset_timeout=60)
NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
SCHOOL = {"registration_number": "R-1", "name": "North", "email": "n@school.test"}


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRepository(UNIQUE)


@pytest.fixture
def call(panel: Panel, issuer: Issuer, repository: FakeRepository) -> Caller:
    dependency = database_dependency(panel, CONFIG, REJECTION_MESSAGE)
    app = create_app(
        repository=repository, database=dependency, panel=panel, keys=issuer.keys, now=lambda: NOON
    )
    return Caller(app, issuer.headers())


async def test_a_created_school_has_every_field(call: Caller) -> None:
    answer = await call("POST", "/schools", SCHOOL)
    assert answer.status == 201
    assert answer.body == {
        "message": "School created successfully",
        "data": {
            "id": 1,
            **SCHOOL,
            "address": None,
            "phone": None,
            "created_at": "2024-05-06T12:00:00.000Z",
            "updated_at": "2024-05-06T12:00:00.000Z",
        },
    }


async def test_a_school_is_read_changed_and_deleted(call: Caller) -> None:
    created = (await call("POST", "/schools", SCHOOL)).data
    assert (await call("GET", "/schools/1")).body == {
        "message": "School retrieved successfully",
        "data": created,
    }
    changed = await call("PUT", "/schools/1", {"name": "South", "email": None})
    assert changed.body == {
        "message": "School updated successfully",
        "data": {**created, "name": "South", "email": None},
    }
    assert (await call("DELETE", "/schools/1")).body == {
        "message": "School deleted successfully",
        "data": None,
    }
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        gone = await call(method, "/schools/1", body)
        assert (gone.status, gone.error) == (404, "SCHOOL_NOT_FOUND")


async def test_a_record_can_be_put_back_as_it_was_read(call: Caller) -> None:
    created = (await call("POST", "/schools", SCHOOL)).data
    assert (await call("PUT", "/schools/1", {**created, "id": 99})).data == created


async def test_taken_values_are_conflicts(call: Caller) -> None:
    await call("POST", "/schools", SCHOOL)
    same_number = await call("POST", "/schools", {**SCHOOL, "email": "other@school.test"})
    assert (same_number.status, same_number.error) == (409, "REGISTRATION_NUMBER_EXISTS")
    same_email = await call("POST", "/schools", {**SCHOOL, "registration_number": "R-2"})
    assert (same_email.status, same_email.error) == (409, "EMAIL_EXISTS")
    await call("POST", "/schools", {"registration_number": "R-3", "name": "x"})
    moved = await call("PUT", "/schools/4", {"registration_number": "R-1"})
    assert (moved.status, moved.error) == (409, "REGISTRATION_NUMBER_EXISTS")


async def test_lists_come_in_pages_with_a_link_to_the_next(call: Caller) -> None:
    for n in range(5):
        await call("POST", "/schools", {"registration_number": f"R-{n}", "name": "x"})
    first = await call("GET", "/schools?limit=2")
    assert first.body["message"] == "Schools retrieved successfully"
    assert [s["id"] for s in first.data] == [1, 2]
    assert first.body["next"] == "/schools?limit=2&after=2"
    second = await call("GET", first.body["next"])
    last = await call("GET", second.body["next"])
    assert [s["id"] for s in second.data + last.data] == [3, 4, 5]
    assert "next" not in last.body
    assert "next" not in (await call("GET", "/schools?limit=5")).body


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit="])
async def test_a_bad_page_size_is_refused(call: Caller, query: str) -> None:
    answer = await call("GET", f"/schools?{query}")
    assert (answer.status, answer.error) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("text", ["1e9", "%D9%A3", "-1", "0", str(2**70), "..", "%00", "1%20", "a%2Fb"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_bad_id_is_refused(call: Caller, method: str, text: str) -> None:
    answer = await call(method, f"/schools/{text}", {"name": "x"} if method == "PUT" else None)
    assert answer.status in (400, 404)
    if text != "a%2Fb":
        assert answer.error == "INVALID_ID"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"\xff\xfe", b"[" * 100_000, b"NaN", b"[1]", b'"x"', b"1" * 5000],
    ids=lambda body: repr(body[:9]),
)
async def test_a_body_that_is_no_json_object_is_an_invalid_request(call: Caller, body: bytes) -> None:
    answer = await call("POST", "/schools", body)
    assert (answer.status, answer.error) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": ""},
        {"name": 5},
        {"name": {"$ne": None}},
        {"name": "x" * 2_000_000},
        {"name": "\ud800"},
        {"registration_number": ["R"]},
        {"registration_number": True},
        {"email": {"$gt": ""}},
        {"email": "nobody"},
        {"phone": 12345},
        {"address": [[[[]]]]},
    ],
    ids=lambda change: ascii(change)[:30],
)
async def test_bad_fields_are_validation_errors_and_store_nothing(
    call: Caller, repository: FakeRepository, change: dict[str, Any]
) -> None:
    await call("POST", "/schools", SCHOOL)
    created = await call(
        "POST", "/schools", json.dumps({**SCHOOL, "registration_number": "n", **change}).encode()
    )
    changed = await call("PUT", "/schools/1", json.dumps(change).encode())
    assert [(a.status, a.error) for a in (created, changed)] == [(400, "VALIDATION_ERROR")] * 2
    assert len(repository.records) == 1
    assert repository.records[1]["name"] == "North"


async def test_a_request_without_a_valid_token_is_401(call: Caller, issuer: Issuer) -> None:
    for path in ("/schools", "/schools/1", "/schools/nonsense"):
        missing = await call("GET", path, headers={"Authorization": ""})
        assert (missing.status, missing.error) == (401, "MISSING_TOKEN")
        for token in ("garbage", issuer.token(lifetime=-1), Issuer().token()):
            bad = await call("GET", path, headers={"Authorization": f"Bearer {token}"})
            assert (bad.status, bad.error) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/openapi.json"])
async def test_operators_pages_need_no_token(panel: Panel, repository: FakeRepository, path: str) -> None:
    dependency = database_dependency(panel, CONFIG, REJECTION_MESSAGE)
    app = create_app(repository=repository, database=dependency, panel=panel, keys=TokenVerifier())
    assert (await app.test_client().get(path)).status_code == 200


async def test_a_request_before_the_first_keys_names_no_breaker(
    panel: Panel, repository: FakeRepository, issuer: Issuer, autojump_clock: MockClock
) -> None:
    """No breaker has counted the failure to fetch them."""
    dependency = database_dependency(panel, CONFIG, REJECTION_MESSAGE)
    app = create_app(repository=repository, database=dependency, panel=panel, keys=TokenVerifier())
    started = trio.current_time()
    answer = await Caller(app, issuer.headers())("GET", "/schools")
    assert (answer.status, answer.error) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "1"
    assert "X-Failure-Origin" not in answer.headers
    assert trio.current_time() - started == pytest.approx(1)


async def test_a_request_waits_for_the_first_keys(
    panel: Panel, repository: FakeRepository, issuer: Issuer, autojump_clock: MockClock
) -> None:
    """The auth service may have started a moment ago, which must be no failure of this service."""
    fetches = 0

    async def fetch() -> dict[str, Any]:
        nonlocal fetches
        fetches += 1
        if trio.current_time() < up:
            raise OSError("down")
        return issuer.document

    up = trio.current_time() + 100
    keys = TokenVerifier(fetch)
    dependency = database_dependency(panel, CONFIG, REJECTION_MESSAGE)
    app = create_app(repository=repository, database=dependency, panel=panel, keys=keys)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.run)
        await trio.sleep(100)
        assert (await Caller(app, issuer.headers())("GET", "/schools")).status == 200
        nursery.cancel_scope.cancel()
    assert fetches < 250


async def test_five_database_failures_then_rejections_then_recovery(
    call: Caller, repository: FakeRepository, mock_clock: MockClock
) -> None:
    await call("POST", "/schools", SCHOOL)
    repository.faults.fail()
    for _ in range(5):
        failed = await call("GET", "/schools/1")
        assert (failed.status, failed.error) == (503, "DATABASE_ERROR")
        assert failed.headers["X-Failure-Origin"] == "school-database"
    before = repository.faults.operations
    rejected = await call("POST", "/schools", SCHOOL)
    assert (rejected.status, rejected.error) == (503, "SERVICE_UNAVAILABLE")
    assert rejected.body["message"] == "school service temporarily unavailable"
    assert rejected.headers["Retry-After"] == "60"
    assert repository.faults.operations == before
    repository.faults.heal()
    mock_clock.jump(60)
    assert (await call("GET", "/schools/1")).status == 200


async def test_an_unknown_path_or_method_has_the_error_body(call: Caller) -> None:
    assert (await call("GET", "/nothing")).error == "NOT_FOUND"
    assert (await call("PATCH", "/schools/1")).error == "METHOD_NOT_ALLOWED"
    assert (await call("GET", "/schools/")).status == 404


async def test_a_callers_deadline_ends_a_slow_operation(
    call: Caller, repository: FakeRepository, panel: Panel, autojump_clock: MockClock
) -> None:
    repository.faults.delay = 10
    answer = await call("GET", "/schools", headers={"X-Request-Timeout-Ms": "500"})
    assert answer.status == 504
    assert trio.current_time() == pytest.approx(0.5)
    assert (await panel["school-database"].snapshot()).counts["failure"] == 0


async def test_the_openapi_page_names_every_path(call: Caller) -> None:
    response = await call._client.get("/openapi.json")
    paths = (await response.get_json())["paths"]
    assert set(paths) == {"/schools", "/schools/{number}"}
    assert set(paths["/schools/{number}"]) == {"get", "put", "delete"}
    body = paths["/schools"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["required"]) == {"registration_number", "name"}
