"""Each service protects its responses, and its OpenAPI document has the statuses that it sends."""

from __future__ import annotations

from typing import Any

import pytest
from quart_trio import QuartTrio

from actors import Panel
from runtime.auth import TokenVerifier
from services.mongo.dependency import database_dependency
from services.school.app import create_app as create_school
from services.school.schemas import UNIQUE as SCHOOL_RULES
from services.student.app import create_app as create_student
from services.student.schemas import UNIQUE as STUDENT_RULES
from services.student.school_client import SchoolCheck
from services.student.students import Students
from tests.services.auth.auth_client import CREDENTIALS, Service, bearer
from tests.services.school.test_app import CONFIG
from tests.services.student.test_app import DATABASE, GRPC, ScriptedSchools
from tests.world.fake_repositories import FakeRepository


@pytest.fixture
def schools(panel: Panel) -> QuartTrio:
    dependency = database_dependency(panel, CONFIG, "closed")
    repository = FakeRepository(SCHOOL_RULES)
    return create_school(repository=repository, database=dependency, panel=panel, keys=TokenVerifier())


@pytest.fixture
def students(panel: Panel) -> QuartTrio:
    dependency = database_dependency(panel, DATABASE, "closed")
    check = SchoolCheck(ScriptedSchools(), panel, GRPC)
    made = Students(FakeRepository(STUDENT_RULES), dependency, check)
    return create_student(made, panel=panel, keys=TokenVerifier())


async def statuses(app: QuartTrio) -> dict[str, set[str]]:
    """By method and path, the statuses in the OpenAPI document."""
    document: Any = await (await app.test_client().get("/openapi.json")).get_json()
    return {
        f"{method.upper()} {path}": set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_responses_with_tokens_are_never_stored(service: Service) -> None:
    """Nor is the key set, which changes when the keys are rotated."""
    await service.signup()
    session = await service.login()
    answers = [
        session,
        await service.signup(),
        await service.login(password="wrong"),
        await service.refresh(session.data["refresh_token"]),
        await service.validate(session.data["access_token"]),
        await service.validate("x.y.z"),
        await service.call("POST", "/logout", CREDENTIALS, headers=bearer("x.y.z")),
        await service.call("GET", "/signup"),
    ]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    keys = await service.call._client.get("/.well-known/jwks.json")
    assert (keys.status_code, keys.headers["Cache-Control"]) == (200, "no-store")


@pytest.fixture
async def service(panel: Panel) -> Service:
    return Service(panel)


async def test_responses_about_records_are_never_stored(schools: QuartTrio, students: QuartTrio) -> None:
    for app, path in ((schools, "/schools/1"), (students, "/students/school/1")):
        response = await app.test_client().get(path)
        assert (response.status_code, response.headers["Cache-Control"]) == (401, "no-store")


ALWAYS = {"500", "503", "504"}
BODY = {"400", "408", "413"}
LIST, ITEM = {"200", "400", "401"}, {"200", "400", "401", "404"}
STATUSES = {
    "POST /signup": {"201", "409", "429"} | BODY,
    "POST /login": {"200", "401", "429"} | BODY,
    "POST /logout": {"200", "401", "429"} | BODY,
    "POST /refresh": {"200", "401", "429"} | BODY,
    "POST /validate": {"200", "401", "429"},
    "GET /.well-known/jwks.json": {"200"},
    "GET /schools": LIST,
    "POST /schools": {"201", "401", "409"} | BODY,
    "GET /schools/{number}": ITEM,
    "PUT /schools/{number}": ITEM | {"403", "409"} | BODY,
    "DELETE /schools/{number}": ITEM | {"403"},
    "GET /students": LIST,
    "GET /students/school/{school}": ITEM,
    "POST /students": {"201", "401", "409"} | BODY,
    "GET /students/{number}": ITEM | {"403"},
    "PUT /students/{number}": ITEM | {"403", "409"} | BODY,
    "DELETE /students/{number}": ITEM | {"403"},
}


async def test_the_documents_have_every_status_of_every_call(
    service: Service, schools: QuartTrio, students: QuartTrio
) -> None:
    auth: Any = service.call._client.app
    found = {**await statuses(auth), **await statuses(schools), **await statuses(students)}
    assert found == {call: listed | ALWAYS for call, listed in STATUSES.items()}


async def test_the_documents_have_bodies_that_are_required_and_ids_that_are_numbers(
    schools: QuartTrio,
) -> None:
    document: Any = await (await schools.test_client().get("/openapi.json")).get_json()
    change = document["paths"]["/schools/{number}"]["put"]
    assert change["requestBody"]["required"] is True
    assert change["security"] == [{"bearer": []}]
    assert change["parameters"][0]["schema"] == {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    assert change["responses"]["404"]["description"] == "There is no such record"
