"""Users, schools and students as they travel. Timestamps are ISO 8601 in UTC, dates YYYY-MM-DD."""

from __future__ import annotations

from typing import TypedDict


class User(TypedDict):
    """id: 24 hex digits."""

    id: str
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: str
    updated_at: str


class School(TypedDict):
    """registration_number is unique; so is email where one is given."""

    id: int
    registration_number: str
    name: str
    address: str | None
    phone: str | None
    email: str | None
    created_at: str
    updated_at: str


class Student(TypedDict):
    """roll_number is unique within its school; email everywhere, where one is given."""

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
