"""Lists of records in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field
from quart import request

from services.dependency import Dependency
from services.http.validation import MAX_ID, MAX_LIMIT, parse_page
from services.mongo.ownership import OwnedBy
from services.mongo.repository import Record, Repository


class PageQuery(BaseModel):
    """limit: maximum number of records in the page; after: the id after which the page starts."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] | None = None
    after: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None


async def read_page(
    repository: Repository,
    database: Dependency,
    where: Mapping[str, Any] | None = None,
    only: OwnedBy | None = None,
) -> tuple[list[Record], dict[str, Any]]:
    """The page that the current request names, and `{"next": path of the next page}`, empty on the last page.

    where, only: see Repository.page. Raises ApiError for a bad query, and what `database.run` raises.
    """
    limit, after = parse_page(request.args.get("limit"), request.args.get("after"))
    records = await database.run(repository.page, limit + 1, after, where, only)
    page = records[:limit]
    if len(records) <= limit:
        return page, {}
    return page, {"next": f"{request.path}?{urlencode({'limit': limit, 'after': page[-1]['id']})}"}
