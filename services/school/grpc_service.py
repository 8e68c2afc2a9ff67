"""The school service over gRPC: grpclib, which is asyncio, with handlers that are trio."""

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
from services.grpc.tracing import traced_service
from services.http.validation import parse_id
from services.mongo.repository import Record
from services.school.repository import Store

FIELDS = tuple(field.name for field in School.DESCRIPTOR.fields)


class _Request(Protocol):
    id: str


class SchoolRpc(SchoolServiceBase):
    """Answers from the store, through the guard. A caller's deadline and cancellation reach the database."""

    def __init__(self, store: Store, guard: Dependency) -> None:
        self._store = store
        self._guard = guard

    async def GetSchool(self, stream: Stream[GetSchoolRequest, GetSchoolResponse]) -> None:
        """The school's record; `found` says whether there is one."""
        record = await self._look_up(stream)
        school = None if record is None else to_message(record)
        await stream.send_message(GetSchoolResponse(school=school, found=record is not None))

    async def ValidateSchool(self, stream: Stream[ValidateSchoolRequest, ValidateSchoolResponse]) -> None:
        """Whether the school exists, and its name."""
        record = await self._look_up(stream)
        name = "" if record is None else record["name"]
        await stream.send_message(ValidateSchoolResponse(exists=record is not None, name=name))

    async def _look_up(self, stream: Stream[Any, Any]) -> Record | None:
        request = await _receive(stream)
        seconds = math.inf if stream.deadline is None else stream.deadline.time_remaining()
        try:
            found: Record | None = await trio_as_aio(self._find)(request.id, seconds)
        except ApiError as error:
            # Of our own errors only a bad id is the caller's; the rest is the guard's.
            status = Status.INVALID_ARGUMENT if error.status < 500 else Status.UNAVAILABLE
            # One fault, one breaker: the caller's must know that ours has counted this.
            origin = {} if error.failure_origin is None else {FAILURE_ORIGIN.lower(): error.failure_origin}
            await stream.send_trailing_metadata(status=status, status_message=error.message, metadata=origin)
            raise GRPCError(status, error.message) from error
        return found

    async def _find(self, text: str, seconds: float) -> Record | None:
        try:
            with trio.fail_after(seconds):
                return await self._guard.run(self._store.get, parse_id(text))
        except trio.TooSlowError:
            raise GRPCError(Status.DEADLINE_EXCEEDED, "out of the caller's time") from None


async def _receive(stream: Stream[Any, Any]) -> _Request:
    try:
        request: _Request | None = await stream.recv_message()
    except DecodeError:
        raise GRPCError(Status.INVALID_ARGUMENT, "not a message of this method") from None
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "no message")
    return request


def to_message(record: Record) -> School:
    """A stored school as it travels: all text, empty where nothing is known."""
    return School(**{field: "" if record[field] is None else str(record[field]) for field in FIELDS})


def rpc_services(store: Store, guard: Dependency) -> list[Any]:
    """What a server (or a ChannelFor) serves: schools, health and reflection."""
    schools = SchoolRpc(store, guard)
    # Health speaks of this process; a database that is down is told call by call.
    services: list[Any] = [traced_service(logged_service(schools)), Health({OVERALL: [], schools: []})]
    return ServerReflection.extend(services)
