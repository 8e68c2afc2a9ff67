"""The school service's HTTP app. Everything it needs is handed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from quart_schema import document_querystring, document_request, document_response
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import Code
from protocols.topology import SCHOOL_SERVICE
from runtime.auth import TokenVerifier
from runtime.web.app import reply, service_app
from runtime.web.errors import ApiError
from runtime.web.json_body import read_json
from services.dependency import Dependency
from services.http.authentication import require_token
from services.http.pagination import PageQuery, read_page, stored
from services.http.validation import parse_id
from services.school.repository import Store
from services.school.schemas import (
    CONFLICTS,
    NewSchool,
    SchoolAnswer,
    SchoolChanges,
    SchoolsAnswer,
    changed_fields,
    new_record,
)

OPEN_MESSAGE = "school service temporarily unavailable"

utc_now = partial(datetime.now, UTC)


def missing() -> ApiError:
    """The answer where there is no such school."""
    return ApiError(Code.SCHOOL_NOT_FOUND, "school not found")


def create_app(
    *,
    store: Store,
    guard: Dependency,
    panel: Panel,
    keys: TokenVerifier,
    now: Callable[[], datetime] = utc_now,
) -> QuartTrio:
    """The app. guard: goes around every operation on `store`; now: the time of day, for stamps."""
    app = service_app(SCHOOL_SERVICE, panel)
    require_token(app, keys, "/schools")
    _add_collection(app, store, guard, now)
    _add_item(app, store, guard, now)
    return app


def _add_collection(app: QuartTrio, store: Store, guard: Dependency, now: Callable[[], datetime]) -> None:
    @app.get("/schools")
    @document_querystring(PageQuery)
    @document_response(SchoolsAnswer)
    async def list_schools() -> Any:
        """List schools, by id."""
        page, more = await read_page(store, guard)
        return reply("Schools retrieved successfully", page, **more)

    @app.post("/schools")
    @document_request(NewSchool)
    @document_response(SchoolAnswer, 201)
    async def create_school() -> Any:
        """Create a school."""
        body = await read_json(NewSchool)
        record = stored(await guard.run(store.create, new_record(body, now())), CONFLICTS, missing())
        return reply("School created successfully", record, 201)


def _add_item(app: QuartTrio, store: Store, guard: Dependency, now: Callable[[], datetime]) -> None:
    @app.get("/schools/<number>")
    @document_response(SchoolAnswer)
    async def get_school(number: str) -> Any:
        """Get one school."""
        record = stored(await guard.run(store.get, parse_id(number)), CONFLICTS, missing())
        return reply("School retrieved successfully", record)

    @app.put("/schools/<number>")
    @document_request(SchoolChanges)
    @document_response(SchoolAnswer)
    async def update_school(number: str) -> Any:
        """Change the given fields of a school."""
        school_id = parse_id(number)
        changes = changed_fields(await read_json(SchoolChanges), now())
        record = stored(await guard.run(store.update, school_id, changes), CONFLICTS, missing())
        return reply("School updated successfully", record)

    @app.delete("/schools/<number>")
    async def delete_school(number: str) -> Any:
        """Delete a school."""
        if not await guard.run(store.delete, parse_id(number)):
            raise missing()
        return reply("School deleted successfully", None)
