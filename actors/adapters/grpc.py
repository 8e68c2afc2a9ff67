"""Unary gRPC calls through a breaker, by grpclib, and the classification of their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeAlias, TypeVar

from grpclib import GRPCError
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from trio_asyncio import aio_as_trio

from ..circuit_breaker import CircuitBreaker
from .shortage import is_shortage

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Metadata: TypeAlias = Mapping[str, str | bytes]

ANSWERS = frozenset(
    {Status.OK, Status.NOT_FOUND, Status.INVALID_ARGUMENT, Status.ALREADY_EXISTS, Status.OUT_OF_RANGE}
)
"""The statuses that answer the request: the service works, and the caller passes them on."""

FAILURES = frozenset(Status) - ANSWERS
"""Every other status: a failure of the service."""


def is_failure(error: BaseException) -> bool:
    """One of FAILURES, a lost connection, or a deadline that passed on our side.

    A lack of files, memory or ports for a connection is none: this process has it, not the service.
    """
    if isinstance(error, GRPCError):
        return error.status in FAILURES
    lost = isinstance(error, StreamTerminatedError | ProtocolError | OSError | TimeoutError)
    return lost and not is_shortage(error)


def is_answer(error: BaseException) -> bool:
    """For a policy's `answers`: a status in ANSWERS. The service works, and refuses the request."""
    return isinstance(error, GRPCError) and error.status in ANSWERS


class GuardedMethod(Generic[Request, Reply]):
    """A stub's unary method behind a breaker, for trio code.

        async with trio_asyncio.open_loop():
            async with trio_asyncio.aio_as_trio(Channel("127.0.0.1", 50051)) as channel:
                stub = SchoolServiceStub(channel)
                breaker = panel.breaker(CircuitBreakerConfig(name="school-grpc", failure=is_failure))
                find = GuardedMethod(stub.GetSchool, breaker)
                reply = await find(GetSchoolRequest(id="1"), timeout=2)

    answers: the exceptions with which the service answers: such a call has succeeded, also if the breaker's
        policy classifies it otherwise.
    """

    def __init__(
        self,
        method: UnaryUnaryMethod[Request, Reply],
        breaker: CircuitBreaker,
        *,
        answers: Callable[[Exception], bool] = is_answer,
    ) -> None:
        self._method = aio_as_trio(method.__call__)
        self._breaker = breaker
        self._answers = answers

    async def __call__(
        self, message: Request, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Reply:
        """Send `message`; the reply.

        timeout: seconds; sent to the service, and TimeoutError raised here. Raises what grpclib raises,
        untouched, and what `CircuitBreaker.execute` raises. Cancelling resets the stream, so that the
        service's handler is cancelled too, and counts neither way. Must be inside
        `trio_asyncio.open_loop()`.
        """
        async with self._breaker.guard() as call:
            try:
                reply: Reply = await self._method(message, timeout=timeout, metadata=metadata)
            except Exception as error:
                if self._answers(error):
                    call.accept()
                raise
            call.returned(reply)
            return reply
