"""The answers of the auth service as OpenAPI shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class User(BaseModel):
    """`protocols.records.User`; id: 24 hex digits."""

    id: str
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: str
    updated_at: str


class Tokens(BaseModel):
    """access_token: a JWT, good for 15 minutes. refresh_token: works once, within 7 days."""

    access_token: str
    refresh_token: str


class Session(Tokens):
    """What a login gives."""

    user: User


class Who(BaseModel):
    """Whose token it is."""

    user_id: str
    email: str


class UserAnswer(BaseModel):
    """A user in the envelope."""

    message: str
    data: User


class SessionAnswer(BaseModel):
    """A session in the envelope."""

    message: str
    data: Session


class TokensAnswer(BaseModel):
    """Tokens in the envelope."""

    message: str
    data: Tokens


class WhoAnswer(BaseModel):
    """An identity in the envelope."""

    message: str
    data: Who


class PlainAnswer(BaseModel):
    """The envelope without data."""

    message: str
    data: None


class KeySetAnswer(BaseModel):
    """A JWKS document."""

    keys: list[dict[str, Any]]


class Failure(BaseModel):
    """The envelope of a failure; `error` is one of the codes."""

    error: str
    message: str
