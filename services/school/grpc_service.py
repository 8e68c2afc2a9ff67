"""The school service's gRPC API. grpclib runs on asyncio; the lookup runs on trio."""

from __future__ import annotations

import math
from typing import Any, Protocol

import trio
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.service import OVERALL, Health
from grpclib.reflection.service import ServerReflection
from grpclib.server import Stream
from trio_asyncio import trio_as_aio

from protocols.http import FAILURE_ORIGIN
from protocols.school_grpc import SchoolServiceBase
from protocols.school_pb2 import (
    GetSchoolRequest,
    GetSchoolResponse,
    School,
    ValidateSchoolRequest,
    ValidateSchoolResponse,
)
from runtime.web.errors import ApiError
from services.dependency import Dependency
from services.grpc.call_log import logged_service
from services.grpc.credential import protected_service
from services.grpc.tracing import traced_service
from services.http.results import permitted
from services.http.validation import parse_id
from services.mongo.repository import Record, Repository

_FIELDS = tuple(field.name for field in School.DESCRIPTOR.fields)


class _IdRequest(Protocol):
    id: str


class SchoolGrpcService(SchoolServiceBase):
    """`school.SchoolService`. A caller's deadline and cancellation reach the database.

    database: runs every operation of `repository`.
    """

    def __init__(self, repository: Repository, database: Dependency) -> None:
        self._repository = repository
        self._database = database

    async def GetSchool(self, stream: Stream[GetSchoolRequest, GetSchoolResponse]) -> None:
        """Send the school. found: whether it exists."""
        record = await self._look_up(stream)
        school = None if record is None else to_message(record)
        await stream.send_message(GetSchoolResponse(school=school, found=record is not None))

    async def ValidateSchool(self, stream: Stream[ValidateSchoolRequest, ValidateSchoolResponse]) -> None:
        """Send whether the school exists, and its name."""
        record = await self._look_up(stream)
        name = "" if record is None else record["name"]
        await stream.send_message(ValidateSchoolResponse(exists=record is not None, name=name))

    async def _look_up(self, stream: Stream[Any, Any]) -> Record | None:
        request = await _receive(stream)
        seconds = math.inf if stream.deadline is None else stream.deadline.time_remaining()
        try:
            record: Record | None = await trio_as_aio(self._find)(request.id, seconds)
        except ApiError as error:
            # A status below 500 is a bad id; every other error comes from the dependency.
            status = Status.INVALID_ARGUMENT if error.status < 500 else Status.UNAVAILABLE
            # One fault, one breaker: with the origin, the caller's breaker doesn't count the failure again.
            origin = {} if error.failure_origin is None else {FAILURE_ORIGIN.lower(): error.failure_origin}
            await stream.send_trailing_metadata(status=status, status_message=error.message, metadata=origin)
            raise GRPCError(status, error.message) from error
        return record

    async def _find(self, number: str, seconds: float) -> Record | None:
        try:
            with trio.fail_after(seconds):
                return permitted(await self._database.run(self._repository.get, parse_id(number)))
        except trio.TooSlowError:
            raise GRPCError(Status.DEADLINE_EXCEEDED, "out of the caller's time") from None


async def _receive(stream: Stream[Any, Any]) -> _IdRequest:
    try:
        request: _IdRequest | None = await stream.recv_message()
    except DecodeError:
        raise GRPCError(Status.INVALID_ARGUMENT, "not a message of this method") from None
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "no message")
    return request


def to_message(record: Record) -> School:
    """A school's record as a message: all fields are text, empty for None."""
    return School(**{field: "" if record[field] is None else str(record[field]) for field in _FIELDS})


def grpc_services(
    repository: Repository, database: Dependency, *, secret: str | None = None, reflection: bool = True
) -> list[Any]:
    """The services for a grpclib Server or ChannelFor: schools, health and, unless it is off, reflection.

    secret: the credential that calls about schools need; health needs none. None: they need none.
    """
    schools = SchoolGrpcService(repository, database)
    # Outside: refused calls have their line in the log, and their span.
    guarded = traced_service(logged_service(protected_service(schools, secret)))
    # Health is that of this process alone; each call reports the database by its own status.
    services: list[Any] = [guarded, Health({OVERALL: [], schools: []})]
    return ServerReflection.extend(services) if reflection else services
