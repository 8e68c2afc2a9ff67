"""The student service's HTTP app. Everything it needs is handed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from quart_schema import document_querystring, document_request, document_response
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import Code
from protocols.topology import STUDENT_SERVICE
from runtime.auth import TokenVerifier
from runtime.web.app import reply, service_app
from runtime.web.errors import ApiError
from runtime.web.json_body import read_json
from services.dependency import Dependency
from services.http.authentication import require_token
from services.http.pagination import PageQuery, read_page, stored
from services.http.validation import parse_id
from services.mongo.repository import Record
from services.student.repository import Store
from services.student.schemas import (
    CONFLICTS,
    NewStudent,
    StudentAnswer,
    StudentChanges,
    StudentsAnswer,
    changed_fields,
    new_record,
    new_school_of,
    school_of,
)
from services.student.school_client import SchoolCheck, SchoolRef

OPEN_MESSAGE = "student service temporarily unavailable"

utc_now = partial(datetime.now, UTC)
log = structlog.get_logger("student")


class Students:
    """What the handlers do, between the request and the answer."""

    def __init__(
        self, store: Store, guard: Dependency, schools: SchoolCheck, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.store = store
        self.guard = guard
        self._schools = schools
        self._now = now

    async def create(self, body: NewStudent) -> Record:
        """A new student of a school that exists. Nothing is written before the school service said so."""
        school = await self._existing(school_of(body))
        record = new_record(body, school.name, self._now())
        return stored(await self.guard.run(self.store.create, record), CONFLICTS, missing())

    async def change(self, number: int, body: StudentChanges) -> Record:
        """The changed student. Only a move to another school asks the school service."""
        school_id = new_school_of(body)
        school_name = None
        if school_id is not None and school_id != (await self.get(number))["school_id"]:
            school_name = (await self._existing(school_id)).name
        changes = changed_fields(body, school_name, self._now())
        return stored(await self.guard.run(self.store.update, number, changes), CONFLICTS, missing())

    async def get(self, number: int) -> Record:
        """One student."""
        return stored(await self.guard.run(self.store.get, number), CONFLICTS, missing())

    async def of_school(self, school_id: int) -> tuple[list[Record], dict[str, Any]]:
        """A page of a school's students, unchecked where the school service can't be asked."""
        try:
            school = await self._schools.find(school_id)
        except ApiError as error:
            log.info("listing without asking for the school", reason=error.code.value)
            return await read_page(self.store, self.guard, {"school_id": school_id})
        if school is None:
            raise ApiError(Code.SCHOOL_NOT_FOUND, "school not found")
        page, more = await read_page(self.store, self.guard, {"school_id": school_id})
        if any(record["school_name"] != school.name for record in page):
            await self._refresh_name(school_id, school.name)
        return [{**record, "school_name": school.name} for record in page], more

    async def _refresh_name(self, school_id: int, name: str) -> None:
        try:
            await self.guard.run(self.store.update_all, {"school_id": school_id}, {"school_name": name})
        except ApiError as error:
            # The list is good without it, and the next one tries again.
            log.warning("a school's new name was not stored", reason=error.code.value)

    async def _existing(self, school_id: int) -> SchoolRef:
        school = await self._schools.find(school_id)
        if school is None:
            raise ApiError(Code.INVALID_SCHOOL, "school does not exist")
        return school


def missing() -> ApiError:
    """The answer where there is no such student."""
    return ApiError(Code.STUDENT_NOT_FOUND, "student not found")


def create_app(students: Students, *, panel: Panel, keys: TokenVerifier) -> QuartTrio:
    """The app around `students`. panel: whose breakers /health and /metrics speak of."""
    app = service_app(STUDENT_SERVICE, panel)
    require_token(app, keys, "/students")
    _add_collection(app, students)
    _add_item(app, students)
    return app


def _add_collection(app: QuartTrio, students: Students) -> None:
    @app.get("/students")
    @document_querystring(PageQuery)
    @document_response(StudentsAnswer)
    async def list_students() -> Any:
        """List students, by id."""
        page, more = await read_page(students.store, students.guard)
        return reply("Students retrieved successfully", page, **more)

    @app.get("/students/school/<school>")
    @document_querystring(PageQuery)
    @document_response(StudentsAnswer)
    async def list_students_of_school(school: str) -> Any:
        """List the students of one school, by id."""
        page, more = await students.of_school(parse_id(school, Code.INVALID_SCHOOL_ID))
        return reply("Students retrieved successfully", page, **more)

    @app.post("/students")
    @document_request(NewStudent)
    @document_response(StudentAnswer, 201)
    async def create_student() -> Any:
        """Create a student of a school that exists."""
        return reply("Student created successfully", await students.create(await read_json(NewStudent)), 201)


def _add_item(app: QuartTrio, students: Students) -> None:
    @app.get("/students/<number>")
    @document_response(StudentAnswer)
    async def get_student(number: str) -> Any:
        """Get one student."""
        return reply("Student retrieved successfully", await students.get(parse_id(number)))

    @app.put("/students/<number>")
    @document_request(StudentChanges)
    @document_response(StudentAnswer)
    async def update_student(number: str) -> Any:
        """Change the given fields of a student."""
        student_id = parse_id(number)
        record = await students.change(student_id, await read_json(StudentChanges))
        return reply("Student updated successfully", record)

    @app.delete("/students/<number>")
    async def delete_student(number: str) -> Any:
        """Delete a student."""
        if not await students.guard.run(students.store.delete, parse_id(number)):
            raise missing()
        return reply("Student deleted successfully", None)
