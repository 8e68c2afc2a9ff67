"""Schools: request bodies, responses, constraints and stored fields. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from protocols.http import Code
from services.http.results import Conflicts
from services.http.validation import NOT_GIVEN, Address, Input, Key, Name, OptionalEmail, Phone, timestamp
from services.mongo.repository import Record, Unique

UNIQUE = (Unique("registration_number", ("registration_number",)), Unique("email", ("email",), optional=True))

CONFLICTS: Conflicts = {
    "registration_number": (Code.REGISTRATION_NUMBER_EXISTS, "registration number already exists"),
    "email": (Code.EMAIL_EXISTS, "email already exists"),
}


class NewSchool(Input):
    """The body of POST /schools."""

    registration_number: Key
    name: Name
    address: Address = None
    phone: Phone = None
    email: OptionalEmail = None


class SchoolChanges(Input):
    """The body of PUT /schools/{id}. A field that isn't given stays unchanged."""

    registration_number: Key = NOT_GIVEN
    name: Name = NOT_GIVEN
    address: Address = None
    phone: Phone = None
    email: OptionalEmail = None


class School(BaseModel):
    """A school in a response."""

    id: int
    registration_number: str
    name: str
    address: str | None
    phone: str | None
    email: str | None
    created_at: str
    updated_at: str


class SchoolResponse(BaseModel):
    """A school in the envelope."""

    message: str
    data: School


class SchoolsResponse(BaseModel):
    """A page of schools in the envelope. next: the path of the next page; absent on the last."""

    message: str
    data: list[School]
    next: str | None = None


def new_record(body: NewSchool, now: datetime) -> Record:
    """The record of a new school, without its id."""
    return {**body.model_dump(), "created_at": timestamp(now), "updated_at": timestamp(now)}


def changed_fields(body: SchoolChanges, now: datetime) -> dict[str, Any]:
    """The fields that a change sets."""
    return {**body.model_dump(exclude_unset=True), "updated_at": timestamp(now)}
