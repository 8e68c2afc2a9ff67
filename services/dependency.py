"""A dependency behind a circuit breaker, with the contract's responses to failures and rejections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import Enum, auto
from typing import ParamSpec, TypeVar

import structlog

from actors import (
    CallRejected,
    CallTimeout,
    CircuitBreakerConfig,
    Panel,
)
from actors.call.classifier import kind_of
from protocols.http import Code
from runtime.observability import tracing
from runtime.serving.loop_time import LoopTime, StallWatch
from runtime.web.errors import ApiError, unavailable
from services.failure_reason import failure_reason

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = 1.0
"""Seconds in the Retry-After of a response to a full pool or to a lack of resources."""

log = structlog.get_logger("services")


class Verdict(Enum):
    """What an exception means to the breaker and to the client."""

    ANSWER = auto()
    """The dependency works and refuses this request: a success. The exception is raised unchanged."""
    FAILURE = auto()
    """A failure. The client gets a 503 that names this breaker as the failure origin."""
    POOL_FULL = auto()
    """No free connection to the dependency. Not counted; the client gets the 503 of a full bulkhead."""
    OUT_OF_RESOURCES = auto()
    """This process lacks files, memory or ports. Not counted; the client gets a 503 without an origin."""
    UNRELATED = auto()
    """A bug of the service, or a request that the driver refuses to send. Not counted, raised unchanged."""


class ProcessStalled(Exception):
    """A call failed while this process did not run; its answer may have been waiting to be read."""


class Dependency:
    """Runs operations on one dependency through the breaker of `config`.

    The verdict alone decides both what the breaker counts and what the client gets, so the two can't differ:
    each failure that the breaker counts is answered with this breaker as the failure origin.

    verdict: classifies an exception; it replaces `failure` and `answers` of `config`.
    target: what the operations reach, such as a host and port, for the breaker's text of a failure.
    failure_code, failure_message: the response to a failure.
    rejection_message: the message of the response to a rejected call.
    loop_time: must run in this process; it detects that the process stalled. Without it, a stall counts as
        the dependency's failure.
    """

    def __init__(
        self,
        panel: Panel,
        config: CircuitBreakerConfig,
        *,
        verdict: Callable[[BaseException], Verdict],
        target: str,
        failure_code: Code,
        failure_message: str,
        rejection_message: str,
        loop_time: LoopTime | None = None,
    ) -> None:
        self._loop_time = loop_time or LoopTime()
        self._leaf_verdict = verdict
        policy = replace(
            config,
            failure=lambda error: self._verdict(error) is Verdict.FAILURE,
            answers=lambda error: self._verdict(error) is Verdict.ANSWER,
        )
        self._breaker = tracing.traced_breaker(panel.breaker(policy))
        self._target = target
        self._failure_code = failure_code
        self._failure_message = failure_message
        self._rejection_message = rejection_message

    async def run(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `operation(*args, **kwargs)` through the breaker, and return its result.

        Raises ApiError if the breaker rejects the call, the dependency fails, or there is no connection for
        the call. Every other exception is raised unchanged. Cancelling cancels the operation and counts as
        neither success nor failure.
        """
        try:
            with self._loop_time.watched():
                return await self._guarded(operation, *args, **kwargs)
        except CallRejected as error:
            raise unavailable(self._breaker.name, self._rejection_message, error.retry_after) from error
        except Exception as error:
            response = self._response(error)
            if response is None:
                raise
            raise response from error

    async def _guarded(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        stall_watch = StallWatch(self._loop_time)
        async with self._breaker.guard() as call:
            try:
                result = await operation(*args, **kwargs)
            except Exception as error:
                if self._verdict(error) is Verdict.FAILURE:
                    if stall_watch.was_mostly_stalled():
                        raise ProcessStalled("the answer may have been waiting") from error
                    # The policy would count this failure too, but with the exception's class as the reason.
                    call.fail(f"{self._target}: {failure_reason(error)}")
                raise
            call.returned(result)
            return result

    def _verdict(self, error: BaseException) -> Verdict:
        """The verdict on `error`; a group is a failure if any of its exceptions is, as in the breaker."""
        if isinstance(error, BaseExceptionGroup):
            failed = any(self._verdict(leaf) is Verdict.FAILURE for leaf in error.exceptions)
            return Verdict.FAILURE if failed else Verdict.UNRELATED
        if isinstance(error, ProcessStalled):
            # Not OUT_OF_RESOURCES: its response has no origin, so the gateway's breaker would count it.
            return Verdict.POOL_FULL
        return Verdict.FAILURE if isinstance(error, CallTimeout) else self._leaf_verdict(error)

    def _response(self, error: Exception) -> ApiError | None:
        """Log the error and return the response to it; None if it is to be raised unchanged."""
        name = self._breaker.name
        verdict = self._verdict(error)
        fields = {"breaker": name, "kind": kind_of(error), "reason": failure_reason(error)}
        match verdict:
            case Verdict.FAILURE:
                log.warning("a dependency failed", **fields)
                return ApiError(self._failure_code, self._failure_message, failure_origin=name)
            case Verdict.POOL_FULL:
                log.warning("no room for a call", **fields)
                # Usually a slow dependency fills the pool. The origin keeps the gateway from counting that.
                return unavailable(name, self._rejection_message, RETRY_SECONDS)
            case Verdict.OUT_OF_RESOURCES:
                log.warning("no room for a call", **fields)
                # The process itself is unwell, which none of its breakers counts. The gateway's breaker must.
                return ApiError(Code.SERVICE_UNAVAILABLE, self._rejection_message, retry_after=RETRY_SECONDS)
            case _:
                return None
