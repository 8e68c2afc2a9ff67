"""The fields that a change of a student sets."""

from __future__ import annotations

from datetime import UTC, datetime

from services.student.schemas import StudentChanges, changed_fields

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
STAMP = {"updated_at": "2024-05-06T12:00:00.000Z"}


def test_only_given_fields_are_set_and_null_clears_a_field() -> None:
    body = StudentChanges.model_validate({"phone": None, "status": "left"})
    assert changed_fields(body, None, NOON) == {"phone": None, "status": "left", **STAMP}


def test_a_move_sets_school_and_name_together() -> None:
    body = StudentChanges.model_validate({"school_id": 2})
    assert changed_fields(body, "South", NOON) == {"school_id": 2, "school_name": "South", **STAMP}


def test_an_update_without_a_move_sets_no_school() -> None:
    """It can't undo a concurrent move."""
    body = StudentChanges.model_validate({"school_id": 1})
    assert changed_fields(body, None, NOON) == STAMP
