"""What a school is: its fields, what is unique, how it is made and changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from protocols.http import Code
from services.http.validation import NOT_GIVEN, Address, Email, Input, Key, Name, Phone, stamp
from services.mongo.repository import Record, Unique

UNIQUE = (Unique("registration_number", ("registration_number",)), Unique("email", ("email",), optional=True))

CONFLICTS: Mapping[str, tuple[Code, str]] = {
    "registration_number": (Code.REGISTRATION_NUMBER_EXISTS, "registration number already exists"),
    "email": (Code.EMAIL_EXISTS, "email already exists"),
}


class NewSchool(Input):
    """The body that creates a school."""

    registration_number: Key
    name: Name
    address: Address = None
    phone: Phone = None
    email: Email = None


class SchoolChanges(Input):
    """The body that changes a school; what isn't given stays."""

    registration_number: Key = NOT_GIVEN
    name: Name = NOT_GIVEN
    address: Address = None
    phone: Phone = None
    email: Email = None


class School(BaseModel):
    """A school as it is answered."""

    id: int
    registration_number: str
    name: str
    address: str | None
    phone: str | None
    email: str | None
    created_at: str
    updated_at: str


class SchoolAnswer(BaseModel):
    """One school."""

    message: str
    data: School


class SchoolsAnswer(BaseModel):
    """A page of schools; `next` is the path of the page behind it."""

    message: str
    data: list[School]
    next: str | None = None


def new_record(body: NewSchool, now: datetime) -> Record:
    """What is stored of a new school."""
    return {**body.model_dump(), "created_at": stamp(now), "updated_at": stamp(now)}


def changed_fields(body: SchoolChanges, now: datetime) -> dict[str, Any]:
    """What a change sets."""
    return {**body.model_dump(exclude_unset=True), "updated_at": stamp(now)}
