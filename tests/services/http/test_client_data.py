"""Bad data is answered as the client's own fault: MongoDB is real, and its breaker counts nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from argon2 import PasswordHasher

from actors import CircuitBreakerConfig, Panel
from services.auth.accounts import Accounts
from services.auth.app import create_app as create_auth
from services.auth.passwords import Passwords
from services.auth.repository import MongoAccountRepository
from services.mongo.client import Database
from services.mongo.dependency import database_dependency
from services.school.app import create_app as create_school
from services.school.repository import school_repository
from services.student.app import create_app as create_student
from services.student.repository import student_repository
from services.student.school_client import SchoolCheck, SchoolRef
from services.student.students import Students
from tests.services.api_client import Caller
from tests.tokens import Issuer

SCHOOL = {"registration_number": "R-#", "name": "North", "address": "a", "phone": "1", "email": "n#@x.org"}
STUDENT = {
    "roll_number": "1-#",
    "first_name": "Ada",
    "last_name": "L",
    "school_id": 1,
    "email": "ada#@x.org",
    "date_of_birth": "2001-01-01",
    "enrollment_date": "2020-01-01",
    "status": "active",
}
USER = {"email": "ada#@example.com", "password": "lovelace", "first_name": "Ada", "last_name": "L"}
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
# Values in JSON.
VALUES = [
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1e400", "-1"),
    *('"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00x"', '"$where"', '"a.b"', '"\\uffff"', '""', '" "'),
    *("null", "true", "[]", "{}", '{"$gt": ""}', '{"\\u0000": 1}', '{"$where": "sleep(9)"}', '["a"]', "1.5"),
    *('"0000-01-01"', '"9999-12-31"', '"\\ud835\\udcb3"', '"' + "\\ud835\\udcb3" * 50 + '"'),
    *('"' + "\\u2603" * 60 + '@x.org"', '"x" , "\\u0000": 1', '"x" , "$set": {"a": 1}', '"x", "_id": 7'),
]
BIG = ["9223372036854775807", "9223372036854775808"]
PATHS = ["0", "-1", *BIG, "%00", "%ff", "%ed%a0%80", "1%00", "$where", "1.0"]
QUERIES = [*(f"after={number}" for number in BIG), "after=%00", "limit=%ff", "limit=1e3", "after=-1"]


class ServiceClient:
    def __init__(self, call: Caller, panel: Panel) -> None:
        self._call = call
        self._panel = panel
        self._sent = 0

    async def json(self, method: str, path: str, body: dict[str, Any], field: str, value: str) -> None:
        """Send the request twice; the second violates a unique constraint at most."""
        kept = json.dumps({key: one for key, one in body.items() if key != field})[1:-1]
        for _ in range(2):
            self._sent += 1
            sent = kept.replace("#", str(self._sent))
            await self(method, path, f'{{{sent}, "{field}": {value}}}'.encode())

    async def __call__(self, method: str, path: str, body: Any = None) -> None:
        answer = await self._call(method, path, body)
        assert answer.status < 500, (method, path, body, answer)
        for name, snapshot in (await self._panel.snapshots()).items():
            assert (snapshot.counts["failure"], snapshot.counts["ignored"]) == (0, 0), (name, path, body)


class OneSchool:
    async def find(self, school_id: int) -> SchoolRef | None:
        return SchoolRef("North") if school_id == 1 else None


def policy(name: str) -> CircuitBreakerConfig:
    return CircuitBreakerConfig(name=name)


@pytest.fixture
async def schools(panel: Panel, database: Database, issuer: Issuer) -> ServiceClient:
    dependency = database_dependency(panel, policy("school-database"), "closed")
    app = create_school(
        repository=school_repository(database), database=dependency, panel=panel, keys=issuer.keys
    )
    return ServiceClient(Caller(app, issuer.headers()), panel)


@pytest.fixture
async def students(panel: Panel, database: Database, issuer: Issuer) -> ServiceClient:
    dependency = database_dependency(panel, policy("student-database"), "closed")
    check = SchoolCheck(OneSchool(), panel, policy("student-service-grpc"))
    app = create_student(
        Students(student_repository(database), dependency, check), panel=panel, keys=issuer.keys
    )
    return ServiceClient(Caller(app, issuer.headers()), panel)


@pytest.fixture
async def users(panel: Panel, database: Database) -> ServiceClient:
    dependency = database_dependency(panel, policy("auth-database"), "closed")
    app = create_auth(Accounts(MongoAccountRepository(database), dependency, QUICK), panel)
    return ServiceClient(Caller(app, {}), panel)


async def test_no_value_from_a_client_makes_schools_fail(schools: ServiceClient) -> None:
    await schools("POST", "/schools", SCHOOL)
    await schools("POST", "/schools", {**SCHOOL, "registration_number": "R-other", "email": None})
    for field in SCHOOL:
        for value in VALUES:
            await schools.json("POST", "/schools", SCHOOL, field, value)
            await schools.json("PUT", "/schools/2", {"name": "x"}, field, value)
    for path in PATHS:
        for method in ("GET", "DELETE"):
            await schools(method, f"/schools/{path}")
        await schools("PUT", f"/schools/{path}", {"name": "x"})
    for query in QUERIES:
        await schools("GET", f"/schools?{query}")


async def test_no_value_from_a_client_makes_students_fail(students: ServiceClient) -> None:
    await students("POST", "/students", STUDENT)
    await students("POST", "/students", {**STUDENT, "roll_number": "other", "email": None})
    for field in STUDENT:
        for value in VALUES:
            await students.json("POST", "/students", STUDENT, field, value)
            await students.json("PUT", "/students/2", {"first_name": "x"}, field, value)
    for path in PATHS:
        for method in ("GET", "DELETE"):
            await students(method, f"/students/{path}")
        await students("GET", f"/students/school/{path}")
    for query in QUERIES:
        await students("GET", f"/students?{query}")
        await students("GET", f"/students/school/1?{query}")


async def test_no_value_from_a_client_makes_users_fail(users: ServiceClient) -> None:
    for field in ("email", "first_name", "last_name", "role"):
        for value in VALUES:
            await users.json("POST", "/signup", USER, field, value)
    for value in VALUES:
        await users.json("POST", "/login", USER, "email", value)
        await users.json("POST", "/refresh", {"x": 1}, "refresh_token", value)
