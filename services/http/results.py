"""Results of repositories as responses: 409 for a violated constraint, 403 and 404 for one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from protocols.http import Code
from runtime.web.errors import ApiError
from services.mongo.ownership import Denied
from services.mongo.repository import UniqueViolation

T = TypeVar("T")

Conflicts = Mapping[str, tuple[Code, str]]
"""By `UniqueViolation.field`: code and message of the response."""


def without_conflict(result: T | UniqueViolation, conflicts: Conflicts) -> T:
    """The result of a write. Raises ApiError by `conflicts` if the result is a UniqueViolation."""
    if isinstance(result, UniqueViolation):
        raise ApiError(*conflicts[result.field])
    return result


def permitted(result: T | Denied) -> T:
    """The result of an operation on one record. Raises ApiError FORBIDDEN if it was denied."""
    if isinstance(result, Denied):
        raise ApiError(Code.FORBIDDEN, "this record belongs to another user")
    return result


def existing(result: T | Denied | None, missing: ApiError) -> T:
    """The result of an operation on one record.

    Raises ApiError FORBIDDEN if it was denied, and `missing` if there is no such record.
    """
    found = permitted(result)
    if found is None:
        raise missing
    return found
