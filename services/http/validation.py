"""Rules for what clients send to the services: ids, dates, text, pages. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from protocols.http import Code
from runtime.web.errors import ApiError
from services.http.email_address import MAX_ADDRESS, shown_address
from services.http.text import plain_line, plain_text

MAX_ID = 2**63 - 1
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

# int() also accepts "1_0", " 1" and digits of other scripts.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Input(BaseModel):
    """A request's body. Types aren't converted, text is stripped, unknown fields are ignored."""

    model_config = ConfigDict(
        strict=True, str_strip_whitespace=True, extra="ignore", hide_input_in_errors=True
    )


def _date(value: str) -> str:
    if not _DATE.fullmatch(value):
        raise ValueError("should be a date, YYYY-MM-DD")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("should be a day that exists, YYYY-MM-DD") from None
    return value


def _none_if_blank(value: Any) -> Any:
    # Forms send "" for an empty field. Stored as text, it would conflict with every other empty field.
    return None if isinstance(value, str) and not value.strip() else value


NOT_GIVEN: Any = None
"""The default of a field that a change may omit but not set to null."""
_Line = AfterValidator(plain_line)
Key = Annotated[str, StringConstraints(min_length=1, max_length=100), _Line]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), _Line]
RecordId = Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_ID})]
"""The id of another record. `checked_id` checks it, since its error has a code of its own."""
Date = Annotated[str, AfterValidator(_date), Field(json_schema_extra={"format": "date"})]
_Blank = BeforeValidator(_none_if_blank)
Phone = Annotated[Annotated[str, StringConstraints(max_length=50), _Line] | None, _Blank]
Address = Annotated[
    Annotated[str, StringConstraints(max_length=500), AfterValidator(plain_text)] | None, _Blank
]
"""A postal address, which may have several lines."""
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=MAX_ADDRESS),
    AfterValidator(shown_address),
    Field(json_schema_extra={"format": "email"}),
]
"""An e-mail address; see `shown_address`."""
OptionalEmail = Annotated[Email | None, _Blank]
OptionalName = Annotated[Name | None, _Blank]
OptionalDate = Annotated[Date | None, _Blank]


def parse_id(value: str, code: Code = Code.INVALID_ID) -> int:
    """`value` as an id. Raises ApiError `code` unless it is a plain decimal number from 1 to MAX_ID."""
    number = int(value) if _NUMBER.fullmatch(value) else 0
    return checked_id(number, code)


def checked_id(number: int, code: Code) -> int:
    """`number`. Raises ApiError `code` unless it is from 1 to MAX_ID."""
    if not 1 <= number <= MAX_ID:
        raise ApiError(code, "an id is a whole number from 1 up")
    return number


def parse_page(limit: str | None, after: str | None) -> tuple[int, int]:
    """The size of a page, and the id after which it starts: 0 for the first page.

    Raises ApiError VALIDATION_ERROR for a bad `limit` and INVALID_ID for a bad `after`.
    """
    size = DEFAULT_LIMIT
    if limit is not None:
        size = int(limit) if _NUMBER.fullmatch(limit) else 0
    if not 1 <= size <= MAX_LIMIT:
        raise ApiError(Code.VALIDATION_ERROR, f"limit: a whole number from 1 to {MAX_LIMIT}")
    return size, 0 if after in (None, "0") else parse_id(str(after))


def timestamp(moment: datetime) -> str:
    """`moment` (with a time zone) in ISO 8601, in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
