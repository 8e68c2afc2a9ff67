"""Results of repositories as responses: 409 for a violated constraint, 404 for a missing record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from protocols.http import Code
from runtime.web.errors import ApiError
from services.mongo.repository import UniqueViolation

T = TypeVar("T")

Conflicts = Mapping[str, tuple[Code, str]]
"""By `UniqueViolation.field`: code and message of the response."""


def without_conflict(result: T | UniqueViolation, conflicts: Conflicts) -> T:
    """The result of a write. Raises ApiError by `conflicts` if the result is a UniqueViolation."""
    if isinstance(result, UniqueViolation):
        raise ApiError(*conflicts[result.field])
    return result


def existing(result: T | None, missing: ApiError) -> T:
    """The result of an operation on one record. Raises `missing` if there is no such record."""
    if result is None:
        raise missing
    return result
