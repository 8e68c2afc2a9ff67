"""Students: request bodies, responses, constraints and stored fields. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from protocols.http import Code
from services.http.results import Conflicts
from services.http.validation import (
    NOT_GIVEN,
    Address,
    Date,
    Input,
    Key,
    Name,
    OptionalDate,
    OptionalEmail,
    OptionalName,
    Phone,
    RecordId,
    checked_id,
    timestamp,
)
from services.mongo.repository import Record, Unique

UNIQUE = (Unique("roll_number", ("school_id", "roll_number")), Unique("email", ("email",), optional=True))

CONFLICTS: Conflicts = {
    "roll_number": (Code.ROLL_NUMBER_EXISTS, "roll number already exists in this school"),
    "email": (Code.EMAIL_EXISTS, "email already exists"),
}

DEFAULT_STATUS = "active"


class NewStudent(Input):
    """The body of POST /students. Defaults: enrollment_date is today (UTC), status DEFAULT_STATUS."""

    roll_number: Key
    first_name: Name
    last_name: Name
    email: OptionalEmail = None
    phone: Phone = None
    date_of_birth: OptionalDate = None
    address: Address = None
    school_id: RecordId
    enrollment_date: OptionalDate = None
    status: OptionalName = None


class StudentChanges(Input):
    """The body of PUT /students/{id}. A field that isn't given stays unchanged.

    Another school_id moves the student.
    """

    roll_number: Key = NOT_GIVEN
    first_name: Name = NOT_GIVEN
    last_name: Name = NOT_GIVEN
    email: OptionalEmail = None
    phone: Phone = None
    date_of_birth: OptionalDate = None
    address: Address = None
    school_id: RecordId = NOT_GIVEN
    enrollment_date: Date = NOT_GIVEN
    status: Name = NOT_GIVEN


class Student(BaseModel):
    """A student in a response."""

    id: int
    roll_number: str
    first_name: str
    last_name: str
    email: str | None
    phone: str | None
    date_of_birth: str | None
    address: str | None
    school_id: int
    school_name: str
    enrollment_date: str
    status: str
    created_at: str
    updated_at: str


class StudentResponse(BaseModel):
    """A student in the envelope."""

    message: str
    data: Student


class StudentsResponse(BaseModel):
    """A page of students in the envelope. next: the path of the next page; absent on the last."""

    message: str
    data: list[Student]
    next: str | None = None


def school_id_of(body: NewStudent) -> int:
    """The school id of a new student. Raises ApiError INVALID_SCHOOL_ID if it can't be an id."""
    return checked_id(body.school_id, Code.INVALID_SCHOOL_ID)


def new_school_id_of(body: StudentChanges) -> int | None:
    """The school id of a change; None if not given. Raises ApiError INVALID_SCHOOL_ID as `school_id_of`."""
    if "school_id" not in body.model_fields_set:
        return None
    return checked_id(body.school_id, Code.INVALID_SCHOOL_ID)


def new_record(body: NewStudent, school_name: str, now: datetime) -> Record:
    """The record of a new student, without its id."""
    fields = body.model_dump()
    fields["enrollment_date"] = body.enrollment_date or now.date().isoformat()
    fields["status"] = body.status or DEFAULT_STATUS
    return {**fields, "school_name": school_name, "created_at": timestamp(now), "updated_at": timestamp(now)}


def changed_fields(body: StudentChanges, school_name: str | None, now: datetime) -> dict[str, Any]:
    """The fields that a change sets.

    school_name: the name of the school to which the student moves; None: the student stays.
    """
    changes = {**body.model_dump(exclude_unset=True), "updated_at": timestamp(now)}
    if school_name is None:
        # An unchanged school_id isn't written: a concurrent move would be undone.
        changes.pop("school_id", None)
        return changes
    return {**changes, "school_name": school_name}
