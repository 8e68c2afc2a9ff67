"""OpenAPI documents of the services: the failures that are the same for every call are added to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel
from quart_schema import document_response
from quart_schema.openapi import OpenAPIProvider
from werkzeug.routing import Rule
from werkzeug.routing.converters import BaseConverter

Handler = TypeVar("Handler", bound=Callable[..., Any])

BEARER: list[dict[str, list[str]]] = [{"bearer": []}]
"""For `security_scheme`: an access token is required."""
_FROM_EVERY_CALL = (500, 503, 504)
_FROM_A_BODY = (400, 408, 413)
_MEANINGS = MappingProxyType(
    {
        400: "The body is no JSON, or a value can't be used; see `error`",
        401: "No token, or no valid one; for a log-in: wrong e-mail address or password",
        403: "The record belongs to another user",
        404: "There is no such record",
        408: "The body came too slowly",
        409: "A value that must be unique is taken; see `error`",
        413: "The body is too large",
        429: "Too many failed attempts, or too many calls that wait: try again after Retry-After",
        500: "A bug: the log has the reason",
        503: "The database or another service isn't available; see `error`",
        504: "The caller's time is over",
    }
)


class ErrorResponse(BaseModel):
    """The envelope of a failure; `error` is a code."""

    error: str
    message: str


def document_failures(*statuses: int) -> Callable[[Handler], Handler]:
    """Document failures of one call: those that aren't added to every call by CompleteDocument."""

    def decorate(handler: Handler) -> Handler:
        for status in statuses:
            handler = document_response(ErrorResponse, status)(handler)
        return handler

    return decorate


class CompleteDocument(OpenAPIProvider):
    """Makes a document in which each call has every status that occurs, and every body is required."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operations of one rule, and the components that they use."""
        paths, components = super().build_paths(rule)
        for item in paths.values():
            for operation in item.values():
                self._complete(operation)
        return paths, components

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        """A parameter in a path: an id. Handlers get its text, since a bad id is 400 and not 404."""
        described = super().build_path_parameter(name, converter)
        return {**described, "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}}

    def _complete(self, operation: dict[str, Any]) -> None:
        if "requestBody" in operation:
            operation["requestBody"]["required"] = True
        failure, _ = self.build_response_object(ErrorResponse, None)
        known = {int(status): response for status, response in operation["responses"].items()}
        for status in _failures(operation):
            known.setdefault(status, failure)
        operation["responses"] = {
            str(status): {**response, "description": _MEANINGS.get(status, response["description"])}
            for status, response in sorted(known.items())
        }


def _failures(operation: dict[str, Any]) -> Iterator[int]:
    """The failures that follow from what a call takes."""
    yield from _FROM_EVERY_CALL
    if "requestBody" in operation:
        yield from _FROM_A_BODY
    if operation["parameters"]:
        yield 400
    if operation.get("security"):
        yield 401
