"""The operations of the student service, without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from protocols.http import Code
from protocols.identity import Identity
from runtime.web.errors import ApiError
from services.dependency import Dependency
from services.http.authorization import changeable, readable
from services.http.pagination import read_page
from services.http.results import existing, permitted, without_conflict
from services.mongo.ownership import OwnedBy
from services.mongo.repository import Record, Repository
from services.student.schemas import (
    CONFLICTS,
    NewStudent,
    StudentChanges,
    changed_fields,
    new_record,
    new_school_id_of,
    school_id_of,
)
from services.student.school_client import SchoolCheck, SchoolRef

utc_now = partial(datetime.now, UTC)
log = structlog.get_logger("student")


class Students:
    """Students and their schools. Every method may raise the ApiErrors of `database`.

    by: the user who makes the request. A student that this user may not read or change is ApiError FORBIDDEN.

    database: runs every operation of `repository`. schools: checks that a school exists. now: returns the
    current time with its time zone.
    """

    def __init__(
        self,
        repository: Repository,
        database: Dependency,
        schools: SchoolCheck,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._repository = repository
        self._database = database
        self._schools = schools
        self._now = now

    async def create(self, body: NewStudent, by: Identity) -> Record:
        """Create a student after the school service has confirmed the school.

        Raises ApiError INVALID_SCHOOL_ID, INVALID_SCHOOL, by CONFLICTS, and those of SchoolCheck.
        """
        school = await self._require_school(school_id_of(body))
        record = new_record(body, school.name, self._now())
        stored = await self._database.run(self._repository.create, record, by.user_id)
        return without_conflict(stored, CONFLICTS)

    async def update(self, number: int, body: StudentChanges, by: Identity) -> Record:
        """Change a student and return it. Only a move to another school calls the school service.

        Raises ApiError STUDENT_NOT_FOUND and those of `create`.
        """
        school_id = new_school_id_of(body)
        school_name = None
        mine = changeable(by)
        if school_id is not None and school_id != (await self._get(number, mine))["school_id"]:
            school_name = (await self._require_school(school_id)).name
        changes = changed_fields(body, school_name, self._now())
        result = await self._database.run(self._repository.update, number, changes, mine)
        return existing(without_conflict(result, CONFLICTS), _not_found())

    async def get(self, number: int, by: Identity) -> Record:
        """One student. Raises ApiError STUDENT_NOT_FOUND."""
        return await self._get(number, readable(by))

    async def _get(self, number: int, only: OwnedBy | None) -> Record:
        return existing(await self._database.run(self._repository.get, number, only), _not_found())

    async def delete(self, number: int, by: Identity) -> None:
        """Delete a student. Raises ApiError STUDENT_NOT_FOUND."""
        if not permitted(await self._database.run(self._repository.delete, number, changeable(by))):
            raise _not_found()

    async def page(
        self, by: Identity, where: Mapping[str, Any] | None = None
    ) -> tuple[list[Record], dict[str, Any]]:
        """The current request's page of the students that the user may read and that have the values `where`.

        See `read_page`.
        """
        return await read_page(self._repository, self._database, where, readable(by))

    async def page_of_school(self, school_id: int, by: Identity) -> tuple[list[Record], dict[str, Any]]:
        """The current request's page of a school's students that the user may read; see `read_page`.

        Raises ApiError SCHOOL_NOT_FOUND. If the school service can't be called, the page comes without that
        check. If the school has a new name, the name is stored with its students.
        """
        try:
            school = await self._schools.find(school_id)
        except ApiError as error:
            log.info("listing students without a check of the school", reason=error.code.value)
            return await self.page(by, {"school_id": school_id})
        if school is None:
            raise ApiError(Code.SCHOOL_NOT_FOUND, "school not found")
        page, more = await self.page(by, {"school_id": school_id})
        if any(record["school_name"] != school.name for record in page):
            await self._refresh_name(school_id, school.name)
        return [{**record, "school_name": school.name} for record in page], more

    async def _refresh_name(self, school_id: int, name: str) -> None:
        where, changes = {"school_id": school_id}, {"school_name": name}
        try:
            await self._database.run(self._repository.update_all, where, changes)
        except ApiError as error:
            # The page has the new name all the same, and the next request tries again.
            log.warning("a school's new name was not stored", reason=error.code.value)

    async def _require_school(self, school_id: int) -> SchoolRef:
        school = await self._schools.find(school_id)
        return existing(school, ApiError(Code.INVALID_SCHOOL, "school does not exist"))


def _not_found() -> ApiError:
    return ApiError(Code.STUDENT_NOT_FOUND, "student not found")
