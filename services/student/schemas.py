"""What a student is: its fields, what is unique, how it is made, changed and moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from protocols.http import Code
from services.http.validation import (
    NOT_GIVEN,
    Address,
    Date,
    Email,
    Input,
    Key,
    Name,
    OptionalDate,
    OptionalName,
    Phone,
    checked_id,
    stamp,
)
from services.mongo.repository import Record, Unique

UNIQUE = (Unique("roll_number", ("school_id", "roll_number")), Unique("email", ("email",), optional=True))

CONFLICTS: Mapping[str, tuple[Code, str]] = {
    "roll_number": (Code.ROLL_NUMBER_EXISTS, "roll number already exists in this school"),
    "email": (Code.EMAIL_EXISTS, "email already exists"),
}

DEFAULT_STATUS = "active"


class NewStudent(Input):
    """The body that creates a student. enrollment_date: today where it isn't given; status: active."""

    roll_number: Key
    first_name: Name
    last_name: Name
    email: Email = None
    phone: Phone = None
    date_of_birth: OptionalDate = None
    address: Address = None
    school_id: int
    enrollment_date: OptionalDate = None
    status: OptionalName = None


class StudentChanges(Input):
    """The body that changes a student; what isn't given stays. Another school_id moves the student."""

    roll_number: Key = NOT_GIVEN
    first_name: Name = NOT_GIVEN
    last_name: Name = NOT_GIVEN
    email: Email = None
    phone: Phone = None
    date_of_birth: OptionalDate = None
    address: Address = None
    school_id: int = NOT_GIVEN
    enrollment_date: Date = NOT_GIVEN
    status: Name = NOT_GIVEN


class Student(BaseModel):
    """A student as it is answered."""

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


class StudentAnswer(BaseModel):
    """One student."""

    message: str
    data: Student


class StudentsAnswer(BaseModel):
    """A page of students; `next` is the path of the page behind it."""

    message: str
    data: list[Student]
    next: str | None = None


def school_of(body: NewStudent) -> int:
    """The school that a new student names. Raises ApiError INVALID_SCHOOL_ID for what can't be an id."""
    return checked_id(body.school_id, Code.INVALID_SCHOOL_ID)


def new_school_of(body: StudentChanges) -> int | None:
    """The school that a change names, None where it names none. Raises ApiError INVALID_SCHOOL_ID."""
    if "school_id" not in body.model_fields_set:
        return None
    return checked_id(body.school_id, Code.INVALID_SCHOOL_ID)


def new_record(body: NewStudent, school_name: str, now: datetime) -> Record:
    """What is stored of a new student."""
    given = body.model_dump()
    given["enrollment_date"] = body.enrollment_date or now.date().isoformat()
    given["status"] = body.status or DEFAULT_STATUS
    return {**given, "school_name": school_name, "created_at": stamp(now), "updated_at": stamp(now)}


def changed_fields(body: StudentChanges, school_name: str | None, now: datetime) -> dict[str, Any]:
    """What a change sets. school_name: of the school the student moves to, None where it stays."""
    changes = {**body.model_dump(exclude_unset=True), "updated_at": stamp(now)}
    if school_name is None:
        # Staying isn't a change: one that runs beside a move must not take the student back.
        changes.pop("school_id", None)
        return changes
    return {**changes, "school_name": school_name}
