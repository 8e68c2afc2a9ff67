"""Asking the school service whether a school exists: gRPC, a deadline on every call, behind a breaker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError, ProtocolError
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel
from protocols.http import FAILURE_ORIGIN, REQUEST_ID, Code
from protocols.school_grpc import SchoolServiceStub
from protocols.school_pb2 import ValidateSchoolRequest, ValidateSchoolResponse
from protocols.topology import SCHOOL_DATABASE
from runtime.serving.loop_time import LoopTime
from runtime.web.errors import ApiError
from services.deadlines import seconds_for_call
from services.dependency import Dependency
from services.failures import judge_grpc
from services.grpc.tracing import trace_calls

CALL_SECONDS = 2.0
FAILED_MESSAGE = "failed to validate school"
OPEN_MESSAGE = "school service temporarily unavailable"
ORIGINS = frozenset({SCHOOL_DATABASE})
"""The breakers that the school service may say it has charged a failure to. Any other name isn't believed."""
# A connection whose other end vanished without a word is given up then, not after TCP's quarter of an hour.
KEEPALIVE = Configuration(_keepalive_time=10.0, _keepalive_timeout=5.0)


@dataclass(frozen=True, slots=True)
class SchoolRef:
    """The school service knows this school."""

    name: str


class UpstreamDependencyFailed(Exception):
    """The school service answered that something behind it failed. origin: the breaker that counted it."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.origin = origin


class Schools(Protocol):
    """Who can be asked about schools."""

    async def find(self, school_id: int) -> SchoolRef | None:
        """The school, None where there is none. Raises what grpclib raises, and UpstreamDependencyFailed.

        Cancelling cancels the call.
        """


class GrpcSchools:
    """The school service at the other end of a grpclib channel.

    seconds: the longest a call may take. address: HOST:PORT, for spans; empty where it isn't known.
    """

    def __init__(self, channel: Channel, seconds: float = CALL_SECONDS, address: str = "") -> None:
        trace_calls(channel, address)
        self._validate = SchoolServiceStub(channel).ValidateSchool
        self._seconds = seconds

    async def find(self, school_id: int) -> SchoolRef | None:
        """See Schools. A call out of time raises TimeoutError."""
        context = structlog.contextvars.get_contextvars()
        metadata = {REQUEST_ID.lower(): context["request_id"]} if "request_id" in context else {}
        request = ValidateSchoolRequest(id=str(school_id))
        reply = await aio_as_trio(self._ask)(request, seconds_for_call(self._seconds), metadata)
        return SchoolRef(reply.name) if reply.exists else None

    async def _ask(
        self, request: ValidateSchoolRequest, seconds: float, metadata: Mapping[str, str]
    ) -> ValidateSchoolResponse:
        """One call, as asyncio. In steps, for a plain call hides the metadata of a failed answer."""
        stream = self._validate.open(timeout=seconds, metadata=dict(metadata))
        try:
            async with stream:
                await stream.send_message(request, end=True)
                reply = await stream.recv_message()
        except GRPCError as error:
            trailers = stream.trailing_metadata
            origin = None if trailers is None else trailers.get(FAILURE_ORIGIN.lower())
            if origin in ORIGINS:
                raise UpstreamDependencyFailed(str(origin)) from error
            raise
        if reply is None:
            raise ProtocolError("an answer without a message")
        return reply


@asynccontextmanager
async def open_channel(address: str) -> AsyncIterator[Channel]:
    """A channel to HOST:PORT, closed on leaving. It connects when it is first used, and again when it must.

    Must be inside `trio_asyncio.open_loop()`.
    """
    host, _, port = address.rpartition(":")
    channel = await aio_as_trio(_make_channel)(host.strip("[]"), int(port))
    try:
        yield channel
    finally:
        channel.close()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()


async def _make_channel(host: str, port: int) -> Channel:
    return Channel(host, port, config=KEEPALIVE)


class SchoolCheck:
    """The check as the handlers use it: through the breaker, and with the contract's answers."""

    def __init__(
        self,
        schools: Schools,
        panel: Panel,
        config: CircuitBreakerConfig,
        loop_time: LoopTime | None = None,
    ) -> None:
        self._schools = schools
        self._guard = Dependency(
            panel,
            config,
            judge=judge_grpc,
            failed=Code.SCHOOL_SERVICE_ERROR,
            failed_message=FAILED_MESSAGE,
            open_message=OPEN_MESSAGE,
            loop_time=loop_time,
        )

    async def find(self, school_id: int) -> SchoolRef | None:
        """The school, None where there is none. Raises ApiError where the school service can't be asked."""
        try:
            return await self._guard.run(self._schools.find, school_id)
        except GRPCError:
            # An answer (NOT_FOUND, INVALID_ARGUMENT and their like): there is no school of this id.
            return None
        except UpstreamDependencyFailed as error:
            raise ApiError(Code.SCHOOL_SERVICE_ERROR, FAILED_MESSAGE, failure_origin=error.origin) from error
