"""Users, schools and students in requests and responses.

Timestamps are ISO 8601 in UTC, dates YYYY-MM-DD.
"""

from __future__ import annotations

from typing import TypedDict


class User(TypedDict):
    """An account. id: 24 hex digits."""

    id: str
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: str
    updated_at: str


class School(TypedDict):
    """A school. registration_number is unique, and so is email unless None."""

    id: int
    registration_number: str
    name: str
    address: str | None
    phone: str | None
    email: str | None
    created_at: str
    updated_at: str


class Student(TypedDict):
    """A student. roll_number is unique within its school; email is unique unless None."""

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
