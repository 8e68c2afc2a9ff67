"""Responses of all services as OpenAPI documents them."""

from __future__ import annotations

from pydantic import BaseModel


class ErrorResponse(BaseModel):
    """The envelope of a failure; `error` is one of the contract's codes."""

    error: str
    message: str
