"""The auth service's request bodies and rules. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from protocols.http import Code
from protocols.identity import ADMIN, USER
from services.auth.addresses.keys import earlier_address
from services.http.email_address import MAX_ADDRESS
from services.http.results import Conflicts
from services.http.text import plain_line
from services.http.validation import Email

MIN_PASSWORD_LENGTH = 6
# The time to hash a password grows with its length.
MAX_PASSWORD_LENGTH = 1024

CONFLICTS: Conflicts = {"email": (Code.USER_EXISTS, "a user with this email already exists")}


def granted_role(requested: str | None, *, first: bool, by_admin: bool) -> str:
    """The role of a new account: `admin` if requested, and allowed by `first` or `by_admin`; else `user`.

    first: the account is the first of an empty database. by_admin: an admin's token came with the request.
    """
    return ADMIN if requested == ADMIN and (first or by_admin) else USER


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(plain_line),
]
NewPassword = Annotated[
    str,
    StringConstraints(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH),
    AfterValidator(plain_line),
]
LoginEmail = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=MAX_ADDRESS),
    AfterValidator(plain_line),
    AfterValidator(earlier_address),
    Field(json_schema_extra={"format": "email"}),
]
"""An address that this release or an earlier one accepts: every account must be able to log in."""
Password = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD_LENGTH)]
RefreshToken = Annotated[str, StringConstraints(max_length=512)]


class _Body(BaseModel):
    # strict: a number isn't accepted as a name. Errors must not show the input, which may be a password.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class Signup(_Body):
    """The body of POST /signup."""

    email: Email
    password: NewPassword
    first_name: Name
    last_name: Name
    role: Literal["user", "admin"] | None = None


class Login(_Body):
    """The body of POST /login."""

    email: LoginEmail
    password: Password


class Refresh(_Body):
    """The body of POST /refresh and POST /logout."""

    refresh_token: RefreshToken
