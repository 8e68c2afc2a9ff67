"""What the services accept from a client: ids, dates, text, pages. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from protocols.http import Code
from runtime.web.errors import ApiError

HIGHEST_ID = 2**63 - 1
DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1000

# int() would also take "1_0", " 1" and digits of other scripts.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


class Input(BaseModel):
    """A request's body: exact types, text without the spaces around it; fields we don't know are ignored."""

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


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError("should be an e-mail address")
    return value


def _none_if_blank(value: Any) -> Any:
    # Forms send "" for what wasn't filled in; stored as text it would conflict with every other blank.
    return None if isinstance(value, str) and not value.strip() else value


NOT_GIVEN: Any = None
"""The default of a field that may be left out of a change but may not be null."""
Key = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Date = Annotated[str, AfterValidator(_date)]
_Blank = BeforeValidator(_none_if_blank)
Phone = Annotated[Annotated[str, StringConstraints(max_length=50)] | None, _Blank]
Address = Annotated[Annotated[str, StringConstraints(max_length=500)] | None, _Blank]
Email = Annotated[Annotated[str, StringConstraints(max_length=254), AfterValidator(_email)] | None, _Blank]
OptionalName = Annotated[Name | None, _Blank]
OptionalDate = Annotated[Date | None, _Blank]


def parse_id(value: str, code: Code = Code.INVALID_ID) -> int:
    """The id that `value` is. Raises ApiError `code` for anything but a plain positive decimal number."""
    number = int(value) if _NUMBER.fullmatch(value) else 0
    return checked_id(number, code)


def checked_id(number: int, code: Code) -> int:
    """`number`, where it can be an id. Raises ApiError `code`."""
    if not 1 <= number <= HIGHEST_ID:
        raise ApiError(code, "an id is a whole number from 1 up")
    return number


def parse_page(limit: str | None, after: str | None) -> tuple[int, int]:
    """The size of a page and the id it begins behind. Raises ApiError VALIDATION_ERROR or INVALID_ID."""
    size = DEFAULT_LIMIT
    if limit is not None:
        size = int(limit) if _NUMBER.fullmatch(limit) else 0
    if not 1 <= size <= HIGHEST_LIMIT:
        raise ApiError(Code.VALIDATION_ERROR, f"limit: a whole number from 1 to {HIGHEST_LIMIT}")
    return size, 0 if after in (None, "0") else parse_id(str(after))


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
