"""The student service over HTTP, with a repository in memory and a scripted school service."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from trio.testing import MockClock

from actors import CircuitBreakerConfig, Panel
from services.mongo.dependency import database_dependency
from services.student.app import REJECTION_MESSAGE, Students, create_app
from services.student.schemas import UNIQUE
from services.student.school_client import SchoolCheck, SchoolRef
from tests.services.api_client import ApiResponse, Caller
from tests.tokens import Issuer
from tests.world.fake_repositories import FakeRepository, Faults

DATABASE = CircuitBreakerConfig(name="student-database", max_failures=5, reset_timeout=60)
GRPC = CircuitBreakerConfig(name="student-service-grpc", max_failures=3, reset_timeout=30)
NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
ADA = {"roll_number": "1", "first_name": "Ada", "last_name": "L", "school_id": 1}


class ScriptedSchools:
    """`SchoolClient` from a table."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.names = {1: "North", 2: "South"}

    def break_down(self, status: Status = Status.UNAVAILABLE) -> None:
        self.faults.fail(GRPCError(status, "scripted"))

    async def find(self, school_id: int) -> SchoolRef | None:
        await self.faults.strike()
        return SchoolRef(self.names[school_id]) if school_id in self.names else None


@pytest.fixture
def schools() -> ScriptedSchools:
    return ScriptedSchools()


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRepository(UNIQUE)


@pytest.fixture
def call(panel: Panel, issuer: Issuer, repository: FakeRepository, schools: ScriptedSchools) -> Caller:
    dependency = database_dependency(panel, DATABASE, REJECTION_MESSAGE)
    students = Students(repository, dependency, SchoolCheck(schools, panel, GRPC), lambda: NOON)
    return Caller(create_app(students, panel=panel, keys=issuer.keys), issuer.headers())


def outcome(answer: ApiResponse) -> tuple[int, str]:
    return answer.status, answer.error


async def test_a_created_student_has_every_field_and_its_schools_name(call: Caller) -> None:
    answer = await call("POST", "/students", ADA)
    assert answer.status == 201
    assert answer.body == {
        "message": "Student created successfully",
        "data": {
            "id": 1,
            **ADA,
            "email": None,
            "phone": None,
            "date_of_birth": None,
            "address": None,
            "school_name": "North",
            "enrollment_date": "2024-05-06",
            "status": "active",
            "created_at": "2024-05-06T12:00:00.000Z",
            "updated_at": "2024-05-06T12:00:00.000Z",
        },
    }


async def test_a_student_is_read_changed_and_deleted_without_the_school_service(
    call: Caller, schools: ScriptedSchools
) -> None:
    created = (await call("POST", "/students", ADA)).data
    schools.break_down()
    assert (await call("GET", "/students/1")).body == {
        "message": "Student retrieved successfully",
        "data": created,
    }
    assert (await call("GET", "/students")).body == {
        "message": "Students retrieved successfully",
        "data": [created],
    }
    changed = await call("PUT", "/students/1", {**created, "status": "left"})
    assert changed.body == {"message": "Student updated successfully", "data": {**created, "status": "left"}}
    deleted = await call("DELETE", "/students/1")
    assert deleted.body == {"message": "Student deleted successfully", "data": None}
    assert outcome(await call("GET", "/students/1")) == (404, "STUDENT_NOT_FOUND")
    assert outcome(await call("PUT", "/students/1", {"status": "x"})) == (404, "STUDENT_NOT_FOUND")
    assert outcome(await call("PUT", "/students/1", {"school_id": 2})) == (404, "STUDENT_NOT_FOUND")
    assert outcome(await call("DELETE", "/students/1")) == (404, "STUDENT_NOT_FOUND")


async def test_taken_values_are_conflicts(call: Caller) -> None:
    await call("POST", "/students", {**ADA, "email": "a@x"})
    assert outcome(await call("POST", "/students", ADA)) == (409, "ROLL_NUMBER_EXISTS")
    other = {**ADA, "roll_number": "2"}
    assert outcome(await call("POST", "/students", {**other, "email": "a@x"})) == (409, "EMAIL_EXISTS")
    assert (await call("POST", "/students", {**ADA, "school_id": 2})).status == 201
    assert outcome(await call("PUT", "/students/1", {"school_id": 2})) == (409, "ROLL_NUMBER_EXISTS")


async def test_a_student_of_a_school_that_does_not_exist_is_refused(
    call: Caller, repository: FakeRepository
) -> None:
    assert outcome(await call("POST", "/students", {**ADA, "school_id": 9})) == (400, "INVALID_SCHOOL")
    assert repository.records == {}
    await call("POST", "/students", ADA)
    assert outcome(await call("PUT", "/students/1", {"school_id": 9})) == (400, "INVALID_SCHOOL")
    assert [record["school_id"] for record in repository.records.values()] == [1]


async def test_a_move_takes_the_new_schools_name_along(call: Caller) -> None:
    await call("POST", "/students", ADA)
    moved = (await call("PUT", "/students/1", {"school_id": 2})).data
    assert (moved["school_id"], moved["school_name"]) == (2, "South")


async def test_three_failed_checks_then_rejections_then_recovery(
    call: Caller, schools: ScriptedSchools, repository: FakeRepository, mock_clock: MockClock
) -> None:
    schools.break_down()
    for _ in range(3):
        failed = await call("POST", "/students", ADA)
        assert outcome(failed) == (503, "SCHOOL_SERVICE_ERROR")
        assert failed.body["message"] == "failed to validate school"
        assert failed.headers["X-Failure-Origin"] == "student-service-grpc"
    rejected = await call("POST", "/students", ADA)
    assert outcome(rejected) == (503, "SERVICE_UNAVAILABLE")
    assert rejected.body["message"] == "school service temporarily unavailable"
    assert rejected.headers["Retry-After"] == "30"
    assert rejected.headers["X-Failure-Origin"] == "student-service-grpc"
    assert (schools.faults.operations, repository.records) == (3, {})
    schools.faults.heal()
    mock_clock.jump(30)
    assert (await call("POST", "/students", ADA)).status == 201


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError()], ids=repr)
async def test_a_lost_connection_and_a_timeout_are_failures_of_the_check(
    call: Caller, schools: ScriptedSchools, panel: Panel, error: Exception
) -> None:
    schools.faults.fail(error)
    assert outcome(await call("POST", "/students", ADA)) == (503, "SCHOOL_SERVICE_ERROR")
    assert (await panel["student-service-grpc"].snapshot()).failure_count == 1


@pytest.mark.parametrize(
    "status",
    [
        Status.UNIMPLEMENTED,
        Status.UNAUTHENTICATED,
        Status.PERMISSION_DENIED,
        Status.ABORTED,
        Status.FAILED_PRECONDITION,
        Status.CANCELLED,
        Status.RESOURCE_EXHAUSTED,
    ],
)
async def test_a_school_service_that_refuses_every_call_opens_the_breaker(
    call: Caller, schools: ScriptedSchools, panel: Panel, status: Status
) -> None:
    """The response names the breaker, which has counted the failure."""
    schools.break_down(status)
    for _ in range(3):
        failed = await call("POST", "/students", ADA)
        assert outcome(failed) == (503, "SCHOOL_SERVICE_ERROR")
        assert failed.headers["X-Failure-Origin"] == "student-service-grpc"
    assert outcome(await call("POST", "/students", ADA)) == (503, "SERVICE_UNAVAILABLE")
    assert (await panel["student-service-grpc"].snapshot()).counts["failure"] == 3


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.INVALID_ARGUMENT, Status.OUT_OF_RANGE])
async def test_a_school_id_that_the_school_service_refuses_does_not_exist(
    call: Caller, schools: ScriptedSchools, panel: Panel, status: Status
) -> None:
    schools.break_down(status)
    assert outcome(await call("POST", "/students", ADA)) == (400, "INVALID_SCHOOL")
    assert outcome(await call("GET", "/students/school/1")) == (404, "SCHOOL_NOT_FOUND")
    assert (await panel["student-service-grpc"].snapshot()).counts["success"] == 2


async def test_a_schools_students_are_listed_in_pages(call: Caller) -> None:
    for n in range(3):
        await call("POST", "/students", {**ADA, "roll_number": str(n)})
    await call("POST", "/students", {**ADA, "school_id": 2})
    first = await call("GET", "/students/school/1?limit=2")
    assert first.body["message"] == "Students retrieved successfully"
    assert [s["id"] for s in first.data] == [1, 2]
    assert first.body["next"] == "/students/school/1?limit=2&after=2"
    assert [s["id"] for s in (await call("GET", first.body["next"])).data] == [3]


async def test_the_students_of_an_unknown_school_are_not_found(call: Caller) -> None:
    assert outcome(await call("GET", "/students/school/9")) == (404, "SCHOOL_NOT_FOUND")


async def test_without_the_school_service_a_schools_students_are_listed_unchecked(
    call: Caller, schools: ScriptedSchools
) -> None:
    await call("POST", "/students", ADA)
    schools.break_down()
    for _ in range(5):
        listed = await call("GET", "/students/school/1")
        assert (listed.status, listed.data[0]["school_name"]) == (200, "North")
    assert (await call("GET", "/students/school/9")).data == []
    assert schools.faults.operations == 1 + 3


async def test_a_school_that_was_renamed_gives_its_students_the_new_name(
    call: Caller, schools: ScriptedSchools
) -> None:
    await call("POST", "/students", ADA)
    schools.names[1] = "Northern"
    assert (await call("GET", "/students/school/1")).data[0]["school_name"] == "Northern"
    schools.break_down()
    assert (await call("GET", "/students/1")).data["school_name"] == "Northern"


@pytest.mark.parametrize("text", ["1e9", "%D9%A3", "-1", "0", str(2**70), ".."])
async def test_a_bad_id_is_refused(call: Caller, text: str) -> None:
    assert outcome(await call("GET", f"/students/{text}")) == (400, "INVALID_ID")
    assert outcome(await call("GET", f"/students/school/{text}")) == (400, "INVALID_SCHOOL_ID")


@pytest.mark.parametrize("school_id", [0, -1, 2**63, 2**70])
async def test_a_number_that_is_no_school_id_is_refused(call: Caller, school_id: int) -> None:
    assert outcome(await call("POST", "/students", {**ADA, "school_id": school_id})) == (
        400,
        "INVALID_SCHOOL_ID",
    )
    await call("POST", "/students", ADA)
    assert outcome(await call("PUT", "/students/1", {"school_id": school_id})) == (400, "INVALID_SCHOOL_ID")


@pytest.mark.parametrize(
    "change",
    [
        {"school_id": "1"},
        {"school_id": 1.5},
        {"school_id": True},
        {"school_id": None},
        {"school_id": {"$gt": 0}},
        {"first_name": None},
        {"first_name": "x" * 2_000_000},
        {"date_of_birth": "2001-02-31"},
        {"date_of_birth": "31/02/2001"},
        {"enrollment_date": "2001-02-29"},
        {"enrollment_date": 0},
        {"email": {"$ne": None}},
        {"status": 1},
        {"roll_number": 1},
    ],
    ids=lambda change: ascii(change)[:30],
)
async def test_bad_fields_are_validation_errors_without_a_school_check(
    call: Caller, schools: ScriptedSchools, repository: FakeRepository, change: dict[str, Any]
) -> None:
    created = await call("POST", "/students", json.dumps({**ADA, **change}).encode())
    changed = await call("PUT", "/students/1", json.dumps(change).encode())
    assert [outcome(a) for a in (created, changed)] == [(400, "VALIDATION_ERROR")] * 2
    assert (schools.faults.operations, repository.faults.operations) == (0, 0)


async def test_a_failing_database_is_charged_to_its_own_breaker(
    call: Caller, repository: FakeRepository, panel: Panel
) -> None:
    repository.faults.fail()
    failed = await call("POST", "/students", ADA)
    assert outcome(failed) == (503, "DATABASE_ERROR")
    assert failed.headers["X-Failure-Origin"] == "student-database"
    assert (await panel["student-service-grpc"].snapshot()).failure_count == 0


async def test_a_caller_whose_deadline_passes_leaves_nothing_behind(
    call: Caller, schools: ScriptedSchools, repository: FakeRepository, autojump_clock: MockClock
) -> None:
    schools.faults.delay = math.inf
    answer = await call("POST", "/students", ADA, headers={"X-Request-Timeout-Ms": "300"})
    assert answer.status == 504
    assert trio.current_time() == pytest.approx(0.3)
    assert (schools.faults.running, repository.records) == (0, {})
