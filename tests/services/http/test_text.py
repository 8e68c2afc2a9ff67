"""Control, bidirectional and invisible characters are refused in all text of all services."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from services.auth.schemas import Signup
from services.http.text import plain_line, plain_text
from services.school.schemas import NewSchool, SchoolChanges
from services.student.schemas import NewStudent, StudentChanges

REFUSED = [
    *("\x00", "\x07", "\x1b", "\x7f", "\x85"),
    *(
        "\u202a",
        "\u202b",
        "\u202c",
        "\u202d",
        "\u202e",
        "\u2066",
        "\u2067",
        "\u2068",
        "\u2069",
        "\u200e",
        "\u200f",
    ),
    *("\u061c", "\u200b", "\u200c", "\u200d", "\u2060", "\u2061", "\ufeff", "\u00ad", "\u180e", "\U000e0001"),
    *("\u2028", "\u2029", "\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", "\u17b4", "\u17b5", "\u2800"),
]
USER = {"email": "ada@example.com", "password": "lovelace", "first_name": "Ada", "last_name": "L"}
SCHOOL = {"registration_number": "R-1", "name": "North", "address": "a", "phone": "1", "email": "n@x.org"}
STUDENT = {
    "roll_number": "1",
    "first_name": "Ada",
    "last_name": "L",
    "email": "a@x.org",
    "phone": "1",
    "address": "a",
    "school_id": 1,
    "status": "active",
    "date_of_birth": "2001-01-01",
    "enrollment_date": "2020-01-01",
}
FIELDS = [
    (model, body, field)
    for model, body in (
        (Signup, USER),
        (NewSchool, SCHOOL),
        (SchoolChanges, SCHOOL),
        (NewStudent, STUDENT),
        (StudentChanges, STUDENT),
    )
    for field in body
    if field != "school_id"
]


@pytest.mark.parametrize(
    ("model", "body", "field"), FIELDS, ids=lambda one: getattr(one, "__name__", str(one)[:12])
)
@pytest.mark.parametrize("letter", REFUSED, ids=ascii)
def test_a_text_field_with_such_a_character_is_named(
    model: type[BaseModel], body: dict[str, Any], field: str, letter: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        model.model_validate({**body, field: f"{body[field]}{letter}x"})
    assert [problem["loc"] for problem in raised.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("model", "body", "field"), FIELDS, ids=lambda one: getattr(one, "__name__", str(one)[:12])
)
def test_the_body_without_it_is_accepted(model: type[BaseModel], body: dict[str, Any], field: str) -> None:
    assert getattr(model.model_validate(body), field) == body[field]


@pytest.mark.parametrize(
    "text", ["Zoë Müller", "李小龙", "محمد", "O'Neil–Smith", "наташа", "a\u0301", "R/1 #2", "\U0001f600"]
)
def test_ordinary_text_of_every_script_is_accepted(text: str) -> None:
    assert plain_line(text) == text


def test_only_a_postal_address_may_have_several_lines() -> None:
    assert plain_text("1 High Street\r\nOxford\tUK") == "1 High Street\r\nOxford\tUK"
    for line_break in "\n\r\t":
        with pytest.raises(ValueError, match="must not have"):
            plain_line(f"a{line_break}b")
    for letter in REFUSED:
        with pytest.raises(ValueError, match="must not have"):
            plain_text(f"a\n{letter}b")
