"""The student service's HTTP app."""

from __future__ import annotations

from typing import Any

from quart_schema import document_querystring, document_request, document_response, security_scheme
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import Code
from protocols.topology import STUDENT_SERVICE
from runtime.auth import TokenVerifier
from runtime.web.app import reply, service_app
from runtime.web.json_body import read_json
from runtime.web.openapi import BEARER, document_failures
from services.http.authentication import require_token
from services.http.authorization import requester
from services.http.pagination import PageQuery
from services.http.responses import EmptyResponse
from services.http.validation import parse_id
from services.student.schemas import NewStudent, StudentChanges, StudentResponse, StudentsResponse
from services.student.students import Students

REJECTION_MESSAGE = "student service temporarily unavailable"


def create_app(students: Students, *, panel: Panel, keys: TokenVerifier) -> QuartTrio:
    """The app. panel: source of /health and /metrics. keys: verify the bearer tokens."""
    app = service_app(STUDENT_SERVICE, panel)
    require_token(app, keys, "/students")
    _add_collection(app, students)
    _add_item(app, students)
    return app


def _add_collection(app: QuartTrio, students: Students) -> None:
    @app.get("/students")
    @security_scheme(BEARER)
    @document_querystring(PageQuery)
    @document_response(StudentsResponse)
    async def list_students() -> Any:
        """List the students that the user may read, by id."""
        page, more = await students.page(requester())
        return reply("Students retrieved successfully", page, **more)

    @app.get("/students/school/<school>")
    @security_scheme(BEARER)
    @document_failures(404)
    @document_querystring(PageQuery)
    @document_response(StudentsResponse)
    async def list_students_of_school(school: str) -> Any:
        """List the students of one school that the user may read, by id."""
        school_id = parse_id(school, Code.INVALID_SCHOOL_ID)
        page, more = await students.page_of_school(school_id, requester())
        return reply("Students retrieved successfully", page, **more)

    @app.post("/students")
    @security_scheme(BEARER)
    @document_failures(409)
    @document_request(NewStudent)
    @document_response(StudentResponse, 201)
    async def create_student() -> Any:
        """Create a student of a school that exists."""
        student = await students.create(await read_json(NewStudent), requester())
        return reply("Student created successfully", student, 201)


def _add_item(app: QuartTrio, students: Students) -> None:
    @app.get("/students/<number>")
    @security_scheme(BEARER)
    @document_failures(403, 404)
    @document_response(StudentResponse)
    async def get_student(number: str) -> Any:
        """Get one student."""
        return reply("Student retrieved successfully", await students.get(parse_id(number), requester()))

    @app.put("/students/<number>")
    @security_scheme(BEARER)
    @document_failures(403, 404, 409)
    @document_request(StudentChanges)
    @document_response(StudentResponse)
    async def update_student(number: str) -> Any:
        """Change the given fields of a student."""
        student_id = parse_id(number)
        record = await students.update(student_id, await read_json(StudentChanges), requester())
        return reply("Student updated successfully", record)

    @app.delete("/students/<number>")
    @security_scheme(BEARER)
    @document_failures(403, 404)
    @document_response(EmptyResponse)
    async def delete_student(number: str) -> Any:
        """Delete a student."""
        await students.delete(parse_id(number), requester())
        return reply("Student deleted successfully", None)
