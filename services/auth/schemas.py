"""What the auth service accepts and decides; pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

USER = "user"
ADMIN = "admin"
SHORTEST_PASSWORD = 6
# Hashing takes time in proportion to the length.
LONGEST_PASSWORD = 1024

_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"[^\s@<>()\[\],;:\\\"]{{1,64}}@(?:{_LABEL}\.)+{_LABEL}")


def _no_control(value: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in value):
        raise ValueError("must not have control characters")
    return value


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError("must be an e-mail address")
    return value


def email_key(email: str) -> str:
    """The form of an address that is unique: `Ada@Example.com` and `ada@example.com` are one account."""
    return unicodedata.normalize("NFKC", email).casefold()


def granted_role(asked: str | None, *, first: bool, by_admin: bool) -> str:
    """The role that a new account gets; asking for more than one may have is no error."""
    return ADMIN if asked == ADMIN and (first or by_admin) else USER


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=3, max_length=254),
    AfterValidator(_no_control),
    AfterValidator(_email),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_no_control),
]
NewPassword = Annotated[str, StringConstraints(min_length=SHORTEST_PASSWORD, max_length=LONGEST_PASSWORD)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PASSWORD)]
RefreshToken = Annotated[str, StringConstraints(max_length=512)]


class _Body(BaseModel):
    # Strict: a number is no name. Input is kept out of errors, for it may be a password.
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
