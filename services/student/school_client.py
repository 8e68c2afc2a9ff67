"""The client of the school service's gRPC API."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
import trio
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from trio_asyncio import aio_as_trio

from actors import CircuitBreakerConfig, Panel
from protocols.http import FAILURE_ORIGIN, REQUEST_ID, Code
from protocols.school_grpc import SchoolServiceStub
from protocols.school_pb2 import ValidateSchoolRequest, ValidateSchoolResponse
from runtime.serving.loop_time import LoopTime
from runtime.web.errors import ApiError
from services.deadlines import seconds_for_call
from services.dependency import Dependency
from services.grpc.credential import SETTING, credential_metadata
from services.grpc.dependency import grpc_verdict
from services.grpc.limits import WINDOWS, limit_messages
from services.grpc.tracing import trace_calls

CALL_SECONDS = 2.0
"""Maximum seconds of a call."""
FAILURE_MESSAGE = "failed to validate school"
REJECTION_MESSAGE = "school service temporarily unavailable"
ORIGINS = frozenset({"school-database"})
"""The breakers that the school service may name as the origin of a failure. Other names are ignored."""
# Detects a dead peer after about 15 seconds; TCP alone needs a quarter of an hour.
CONNECTION = replace(WINDOWS, _keepalive_time=10.0, _keepalive_timeout=5.0)
_RESET = "Stream reset by remote party"
"""The beginning of grpclib's message if the server has ended this call alone."""

log = structlog.get_logger("student")


@dataclass(frozen=True, slots=True)
class SchoolRef:
    """A school that exists."""

    name: str


class UpstreamDependencyFailed(Exception):
    """A dependency of the school service failed. origin: the breaker that counted the failure."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.origin = origin


class SchoolClient(Protocol):
    """Looks up schools."""

    async def find(self, school_id: int) -> SchoolRef | None:
        """The school; None if there is none. Raises what grpclib raises, and UpstreamDependencyFailed.

        Cancelling cancels the call.
        """


class GrpcSchoolClient:
    """SchoolClient through a grpclib channel.

    seconds: maximum time of a call; less if the caller's deadline is nearer. address: HOST:PORT, for spans;
    empty if unknown. secret: the credential that the school service expects; None: none.

    A call whose connection ends under it is made once more, since it changes nothing.
    """

    def __init__(
        self,
        channel: Channel,
        seconds: float = CALL_SECONDS,
        address: str = "",
        secret: str | None = None,
    ) -> None:
        trace_calls(channel, address)
        self._credential = credential_metadata(secret)
        self._is_refused = False
        self._validate = SchoolServiceStub(channel).ValidateSchool
        self._seconds = seconds

    async def find(self, school_id: int) -> SchoolRef | None:
        """See SchoolClient. Raises TimeoutError if the call exceeds its time."""
        context = structlog.contextvars.get_contextvars()
        request_id = {REQUEST_ID.lower(): context["request_id"]} if "request_id" in context else {}
        request = ValidateSchoolRequest(id=str(school_id))
        metadata = {**self._credential, **request_id}
        reply = await aio_as_trio(self._call_twice)(request, seconds_for_call(self._seconds), metadata)
        return SchoolRef(reply.name) if reply.exists else None

    async def _call_twice(
        self, request: ValidateSchoolRequest, seconds: float, metadata: Mapping[str, str]
    ) -> ValidateSchoolResponse:
        """Make one call, and once more within its time if its connection ended. An asyncio function."""
        ends = time.monotonic() + seconds
        try:
            return await self._call(request, seconds, metadata)
        except StreamTerminatedError as error:
            # A server that stops sends GOAWAY, or closes: the next connection reaches its successor.
            if str(error).startswith(_RESET):
                raise
        return await self._call(request, max(0.0, ends - time.monotonic()), metadata)

    async def _call(
        self, request: ValidateSchoolRequest, seconds: float, metadata: Mapping[str, str]
    ) -> ValidateSchoolResponse:
        """Make one call. An asyncio function.

        Uses the stream, because the stub's plain call hides the trailing metadata of an error.
        """
        stream = self._validate.open(timeout=seconds, metadata=dict(metadata))
        try:
            async with stream:
                await stream.send_message(request, end=True)
                reply = await stream.recv_message()
        except GRPCError as error:
            self._note_refusal(error)
            trailers = stream.trailing_metadata
            origin = None if trailers is None else trailers.get(FAILURE_ORIGIN.lower())
            if origin in ORIGINS:
                raise UpstreamDependencyFailed(str(origin)) from error
            raise
        if reply is None:
            raise ProtocolError("a response without a message")
        self._is_refused = False
        return reply

    def _note_refusal(self, error: GRPCError) -> None:
        """Log the first of consecutive refusals of the credential, which only an operator can mend."""
        was_refused, self._is_refused = self._is_refused, error.status is Status.UNAUTHENTICATED
        if self._is_refused and not was_refused:
            log.error("the school service refuses this service's credential", setting=SETTING)


class _LimitedChannel(Channel):
    """A channel that refuses large messages."""

    def _protocol_factory(self) -> H2Protocol:
        return limit_messages(super()._protocol_factory())


@asynccontextmanager
async def open_channel(address: str) -> AsyncIterator[Channel]:
    """A channel to HOST:PORT, closed on exit. It connects on first use, and reconnects when needed.

    Must be used inside `trio_asyncio.open_loop()`.
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
    return _LimitedChannel(host, port, config=CONNECTION)


class SchoolCheck:
    """Looks up schools through a breaker, with the contract's responses to failures.

    config: the breaker's policy. loop_time: see Dependency. address: HOST:PORT, for the text of failures.
    """

    def __init__(
        self,
        client: SchoolClient,
        panel: Panel,
        config: CircuitBreakerConfig,
        loop_time: LoopTime | None = None,
        *,
        address: str = "",
    ) -> None:
        self._client = client
        self._school_service = Dependency(
            panel,
            config,
            verdict=grpc_verdict,
            target=f"school-service {address}".rstrip(),
            failure_code=Code.SCHOOL_SERVICE_ERROR,
            failure_message=FAILURE_MESSAGE,
            rejection_message=REJECTION_MESSAGE,
            loop_time=loop_time,
        )

    async def find(self, school_id: int) -> SchoolRef | None:
        """The school; None if there is none. Raises ApiError if the school service fails or is rejected.

        Cancelling cancels the call.
        """
        try:
            return await self._school_service.run(self._client.find, school_id)
        except GRPCError:
            # An answer such as NOT_FOUND: there is no such school. Every other status became an ApiError.
            return None
        except UpstreamDependencyFailed as error:
            raise ApiError(Code.SCHOOL_SERVICE_ERROR, FAILURE_MESSAGE, failure_origin=error.origin) from error
