"""The auth service's responses as OpenAPI documents them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from services.auth.records import User


class Tokens(BaseModel):
    """access_token: a JWT, valid for 15 minutes. refresh_token: works once, within 7 days."""

    access_token: str
    refresh_token: str


class Session(Tokens):
    """A user with the tokens of a new login."""

    user: User


class TokenOwner(BaseModel):
    """The user of a valid access token."""

    user_id: str
    email: str


class UserResponse(BaseModel):
    """A user in the envelope."""

    message: str
    data: User


class SessionResponse(BaseModel):
    """A session in the envelope."""

    message: str
    data: Session


class TokensResponse(BaseModel):
    """Tokens in the envelope."""

    message: str
    data: Tokens


class TokenOwnerResponse(BaseModel):
    """A token's owner in the envelope."""

    message: str
    data: TokenOwner


class KeySetResponse(BaseModel):
    """A JWKS document."""

    keys: list[dict[str, Any]]
