"""The school service's HTTP app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from quart_schema import document_querystring, document_request, document_response, security_scheme
from quart_trio import QuartTrio

from actors import Panel
from protocols.http import Code
from protocols.topology import SCHOOL_SERVICE
from runtime.auth import TokenVerifier
from runtime.web.app import reply, service_app
from runtime.web.errors import ApiError
from runtime.web.json_body import read_json
from runtime.web.openapi import BEARER, document_failures
from services.dependency import Dependency
from services.http.authentication import require_token
from services.http.authorization import changeable, requester
from services.http.pagination import PageQuery, read_page
from services.http.responses import EmptyResponse
from services.http.results import existing, permitted, without_conflict
from services.http.validation import parse_id
from services.mongo.repository import Repository
from services.school.schemas import (
    CONFLICTS,
    NewSchool,
    SchoolChanges,
    SchoolResponse,
    SchoolsResponse,
    changed_fields,
    new_record,
)

REJECTION_MESSAGE = "school service temporarily unavailable"

utc_now = partial(datetime.now, UTC)


def not_found() -> ApiError:
    """The response if there is no such school."""
    return ApiError(Code.SCHOOL_NOT_FOUND, "school not found")


def create_app(
    *,
    repository: Repository,
    database: Dependency,
    panel: Panel,
    keys: TokenVerifier,
    now: Callable[[], datetime] = utc_now,
) -> QuartTrio:
    """The app.

    database: runs every operation of `repository`. panel: source of /health and /metrics. keys: verify the
    bearer tokens. now: returns the current time with its time zone.
    """
    app = service_app(SCHOOL_SERVICE, panel)
    require_token(app, keys, "/schools")
    _add_collection(app, repository, database, now)
    _add_item(app, repository, database, now)
    return app


def _add_collection(
    app: QuartTrio, repository: Repository, database: Dependency, now: Callable[[], datetime]
) -> None:
    @app.get("/schools")
    @security_scheme(BEARER)
    @document_querystring(PageQuery)
    @document_response(SchoolsResponse)
    async def list_schools() -> Any:
        """List schools, by id."""
        page, more = await read_page(repository, database)
        return reply("Schools retrieved successfully", page, **more)

    @app.post("/schools")
    @security_scheme(BEARER)
    @document_failures(409)
    @document_request(NewSchool)
    @document_response(SchoolResponse, 201)
    async def create_school() -> Any:
        """Create a school."""
        record = new_record(await read_json(NewSchool), now())
        owner = requester().user_id
        school = without_conflict(await database.run(repository.create, record, owner), CONFLICTS)
        return reply("School created successfully", school, 201)


def _add_item(
    app: QuartTrio, repository: Repository, database: Dependency, now: Callable[[], datetime]
) -> None:
    @app.get("/schools/<number>")
    @security_scheme(BEARER)
    @document_failures(404)
    @document_response(SchoolResponse)
    async def get_school(number: str) -> Any:
        """Get one school."""
        school = existing(await database.run(repository.get, parse_id(number)), not_found())
        return reply("School retrieved successfully", school)

    @app.put("/schools/<number>")
    @security_scheme(BEARER)
    @document_failures(403, 404, 409)
    @document_request(SchoolChanges)
    @document_response(SchoolResponse)
    async def update_school(number: str) -> Any:
        """Change the given fields of a school; only its creator and admins may."""
        school_id = parse_id(number)
        changes = changed_fields(await read_json(SchoolChanges), now())
        result = await database.run(repository.update, school_id, changes, changeable(requester()))
        school = existing(without_conflict(result, CONFLICTS), not_found())
        return reply("School updated successfully", school)

    @app.delete("/schools/<number>")
    @security_scheme(BEARER)
    @document_failures(403, 404)
    @document_response(EmptyResponse)
    async def delete_school(number: str) -> Any:
        """Delete a school; only its creator and admins may."""
        mine = changeable(requester())
        if not permitted(await database.run(repository.delete, parse_id(number), mine)):
            raise not_found()
        return reply("School deleted successfully", None)
