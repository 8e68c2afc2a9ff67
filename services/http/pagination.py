"""Lists in pages, and records that may be missing or in conflict, as a service's HTTP app answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from quart import request

from protocols.http import Code
from runtime.web.errors import ApiError
from services.dependency import Dependency
from services.http.validation import parse_page
from services.mongo.repository import Record, Repository, UniqueViolation


class PageQuery(BaseModel):
    """limit: most records in the page; after: the id that it begins behind."""

    limit: int | None = None
    after: int | None = None


async def read_page(
    store: Repository, guard: Dependency, where: Mapping[str, Any] | None = None
) -> tuple[list[Record], dict[str, Any]]:
    """The page that the request asks for, and `next`, its successor's path, where there is more."""
    limit, after = parse_page(request.args.get("limit"), request.args.get("after"))
    found = await guard.run(store.page, limit + 1, after, where)
    page = found[:limit]
    if len(found) <= limit:
        return page, {}
    return page, {"next": f"{request.path}?{urlencode({'limit': limit, 'after': page[-1]['id']})}"}


def stored(
    result: Record | UniqueViolation | None,
    conflicts: Mapping[str, tuple[Code, str]],
    missing: ApiError,
) -> Record:
    """The record that a store returned. Raises `missing` for None, and a conflict for UniqueViolation."""
    if result is None:
        raise missing
    if isinstance(result, UniqueViolation):
        raise ApiError(*conflicts[result.field])
    return result
