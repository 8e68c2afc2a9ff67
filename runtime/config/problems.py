"""Errors of pydantic and of the policies' dataclasses, as problems of breakers.toml: key and reason."""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import pairwise
from typing import get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runtime.config.policies import CODE_FIELDS, Problem
from runtime.config.tables import KINDS, LIMIT_KINDS, TABLES, BreakerTable

Location = tuple[int | str, ...]
"""Where pydantic found an error: keys and indexes, with the kind of each strategy after its place."""

TOO_DEEP = Problem("", "has tables or lists too deep within each other")

_REASONS: Mapping[str, str] = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
    "union_tag_not_found": "must be a table",
}
"""By pydantic's name of an error, its reason in TOML's words."""


def problems_of(error: ValidationError, root: type) -> list[Problem]:
    """Return a problem for each of pydantic's errors. root: the table that was read."""
    return [_problem(one, root) for one in error.errors(include_url=False)]


def problem_of(error: ValueError, where: str, table: Container[str]) -> Problem:
    """Return the problem of a dataclass that was made from `table`, which is at the key `where`.

    A dataclass's message begins with the field's name: `max_failures`, `FailureCount.n`, `backoff.maximum`.
    """
    name = str(error).split(maxsplit=1)[0]
    head, field = name.partition(".")[0], name.rpartition(".")[2]
    key = name if head in table else field if field in table else ""
    return Problem(f"{where}.{key}".strip("."), str(error))


def _problem(error: ErrorDetails, root: type) -> Problem:
    value, key = error["input"], _key(error["loc"])
    match error["type"]:
        case "recursion_depth_exceeded":
            return TOO_DEEP
        case "missing":
            return Problem(key, "is missing")
        case "extra_forbidden" | "unexpected_keyword_argument":
            return Problem(key, _unknown(error["loc"], root))
        case "value_error":
            return problem_of(error["ctx"]["error"], key, value if isinstance(value, dict) else ())
        case "union_tag_not_found" | "union_tag_invalid" if isinstance(value, dict):
            kinds = LIMIT_KINDS if error["loc"][-1] == "max_concurrent" else KINDS
            return Problem(f"{key}.kind", f"must be one of {', '.join(kinds)}, got {value.get('kind')!r}")
        case "literal_error":
            known = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
            return Problem(key, f"must be one of {known}, got {value!r}")
        case kind:
            return Problem(key, f"{_REASONS.get(kind, error['msg'])}, got {value!r}")


def _key(location: Location) -> str:
    """Return the dotted key of a location, such as `breakers.auth-database.trip.strategies[0].n`."""
    key = ""
    for before, part in pairwise(("", *location)):
        # An error about a key itself is located below the key.
        is_kind = part in KINDS and (before == "trip" or isinstance(before, int))
        if part == "[key]" or is_kind or (part in ("number", *LIMIT_KINDS) and before == "max_concurrent"):
            continue
        key += f"[{part}]" if isinstance(part, int) else f".{part}"
    return key.removeprefix(".")


def _unknown(location: Location, root: type) -> str:
    if location[-1] in CODE_FIELDS:
        return "is set by code, not here"
    table = TABLES.get(location[-2], BreakerTable) if len(location) > 1 else root
    return f"unknown key; one of: {', '.join(sorted(get_type_hints(table)))}"
