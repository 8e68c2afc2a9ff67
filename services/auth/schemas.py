"""The auth service's request bodies and rules. Pure."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from protocols.http import Code
from services.http.results import Conflicts
from services.http.validation import Email, without_control_characters

USER = "user"
ADMIN = "admin"
MIN_PASSWORD_LENGTH = 6
# The time to hash a password grows with its length.
MAX_PASSWORD_LENGTH = 1024

CONFLICTS: Conflicts = {"email": (Code.USER_EXISTS, "a user with this email already exists")}


def email_key(email: str) -> str:
    """The form in which an address is unique: `Ada@Example.com` and `ada@example.com` are one account."""
    return unicodedata.normalize("NFKC", email).casefold()


def granted_role(requested: str | None, *, first: bool, by_admin: bool) -> str:
    """The role of a new account: `admin` if requested, and allowed by `first` or `by_admin`; else `user`.

    first: the account is the first of an empty database. by_admin: an admin's token came with the request.
    """
    return ADMIN if requested == ADMIN and (first or by_admin) else USER


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(without_control_characters),
]
NewPassword = Annotated[
    str, StringConstraints(min_length=MIN_PASSWORD_LENGTH, max_length=MAX_PASSWORD_LENGTH)
]
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

    email: Email
    password: Password


class Refresh(_Body):
    """The body of POST /refresh and POST /logout."""

    refresh_token: RefreshToken
