"""JSON request bodies: strict parsing, and validation by pydantic models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from protocols.http import Code
from runtime.web.errors import ApiError
from runtime.web.request_log import received_body

Model = TypeVar("Model", bound=BaseModel)


async def read_json(model: type[Model], *, missing: bytes = b"") -> Model:
    """Read the request's body as `model`, whatever its Content-Type says.

    missing: replaces an empty body. Raises ApiError: INVALID_REQUEST if the body is no JSON object, else
    VALIDATION_ERROR. The server limits the time that a client may take and answers 408 REQUEST_TIMEOUT
    itself; meanwhile the caller's deadline is suspended.
    """
    body = await received_body() or missing
    value = parse_json(body)
    if not isinstance(value, dict):
        raise ApiError(Code.INVALID_REQUEST, "the body must be a JSON object")
    made = validated(model, value)
    if b"\\u" in body and not _is_text(value):
        raise ApiError(Code.VALIDATION_ERROR, "text must be valid Unicode")
    return made


def _is_text(value: Any) -> bool:
    """Return whether UTF-8 can encode all text in `value`: JSON allows half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def parse_json(body: bytes) -> Any:
    """Parse strict JSON. Raises ApiError INVALID_REQUEST.

    Refuses NaN and Infinity, a key that an object has twice, invalid UTF-8, and nesting or numbers beyond
    Python's limits.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError):
        raise ApiError(Code.INVALID_REQUEST, "the body must be JSON") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Two readers may take different values of the same key."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is there twice")
    return made


def validated(model: type[Model], value: Mapping[str, Any]) -> Model:
    """Validate `value` as `model`. Raises ApiError VALIDATION_ERROR, which names fields but no values."""
    try:
        return model.model_validate(value)
    except (ValidationError, RecursionError) as error:
        raise ApiError(Code.VALIDATION_ERROR, _explain(error)) from None


def _explain(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = (f"{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}" for p in problems)
    return "; ".join(lines)[:1000].encode("utf-8", "replace").decode("utf-8")
