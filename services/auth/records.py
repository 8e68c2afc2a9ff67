"""A user, as the auth service's parts hand it on and as its responses show it."""

from __future__ import annotations

from pydantic import BaseModel


class User(BaseModel):
    """A user in a response. id: 24 hex digits. created_at, updated_at: ISO 8601 in UTC."""

    id: str
    email: str
    first_name: str
    last_name: str
    role: str
    created_at: str
    updated_at: str
