"""Responses of all services as OpenAPI documents them."""

from __future__ import annotations

from pydantic import BaseModel


class EmptyResponse(BaseModel):
    """The envelope without data."""

    message: str
    data: None
