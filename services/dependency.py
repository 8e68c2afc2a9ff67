"""A breaker around a dependency, and the contract's answers when the dependency or the breaker says no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
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
from services.failures import Verdict, judge_mongo, reason

P = ParamSpec("P")
T = TypeVar("T")
Judge = Callable[[BaseException], Verdict]

SHORTAGE_SECONDS = 1.0
"""After which a client may try again that this process had no room for."""

log = structlog.get_logger("services")


class StoodStill(Exception):
    """A call failed while this process stood still: its answer may have been waiting."""


class Dependency:
    """Runs operations on one dependency through one breaker, under the policy `config`.

    judge: the verdict on an exception. It alone decides what is counted and what is answered: an answer that
    names this breaker as its failure origin has been counted, and every failure counted is answered so.
    failed, failed_message: what a client is told of a failure. open_message: while nothing is admitted.
    loop_time: runs in this process, and knows when it stood still; without one that is never known.
    """

    def __init__(
        self,
        panel: Panel,
        config: CircuitBreakerConfig,
        *,
        judge: Judge,
        failed: Code,
        failed_message: str,
        open_message: str,
        loop_time: LoopTime | None = None,
    ) -> None:
        self._loop_time = loop_time or LoopTime()
        self._judge = judge
        # The policy's own question is for what isn't caught one by one: groups, and cancellations in them.
        policy = replace(config, failure=lambda error: self._verdict(error) is Verdict.FAILURE)
        self._breaker = tracing.traced_breaker(panel.breaker(policy))
        self._failed = failed
        self._failed_message = failed_message
        self._open_message = open_message

    async def run(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `operation(*args)`. Raises ApiError where the breaker rejects it or the dependency fails.

        Answers, and errors that say nothing of the dependency, come out as they are. Cancelling counts
        neither way.
        """
        name = self._breaker.name
        try:
            with self._loop_time.watched():
                return await self._counted(operation, *args, **kwargs)
        except CallRejected as error:
            raise unavailable(name, self._open_message, error.retry_after) from error
        except Exception as error:
            told = {"breaker": name, "kind": kind_of(error), "reason": reason(error)}
            match self._verdict(error):
                case Verdict.FAILURE:
                    log.warning("a dependency failed", **told)
                    raise ApiError(self._failed, self._failed_message, failure_origin=name) from error
                case Verdict.FULL | Verdict.SHORTAGE as verdict:
                    log.warning("no room for a call", **told)
                    raise self._no_room(verdict) from error
                case _:
                    raise

    async def _counted(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        stall_watch = StallWatch(self._loop_time)
        async with self._breaker.guard() as call:
            try:
                result = await operation(*args, **kwargs)
            except Exception as error:
                verdict = self._verdict(error)
                if verdict is Verdict.FAILURE:
                    if stall_watch.was_mostly_stalled():
                        raise StoodStill("its answer may have been waiting") from error
                    call.fail(reason(error))
                elif verdict is Verdict.ANSWER:
                    call.accept()
                raise
            call.returned(result)
            return result

    def _verdict(self, error: BaseException) -> Verdict:
        """A group fails if any of its exceptions does, as the breaker has it."""
        if isinstance(error, BaseExceptionGroup):
            failed = any(self._verdict(one) is Verdict.FAILURE for one in error.exceptions)
            return Verdict.FAILURE if failed else Verdict.OWN
        if isinstance(error, StoodStill):
            # As a full pool, and not as a shortage: the gateway sees by itself that nothing answers.
            return Verdict.FULL
        return Verdict.FAILURE if isinstance(error, CallTimeout) else self._judge(error)

    def _no_room(self, verdict: Verdict) -> ApiError:
        # A full pool is a limit of this one dependency, like the bulkhead: the dependency's own trouble fills
        # it, so the gateway must not count that a second time. A process without files or ports is itself
        # unwell, whatever it is asked; no breaker of its own speaks of that, and the gateway's does.
        if verdict is Verdict.FULL:
            return unavailable(self._breaker.name, self._open_message, SHORTAGE_SECONDS)
        return ApiError(Code.SERVICE_UNAVAILABLE, self._open_message, retry_after=SHORTAGE_SECONDS)


def guard_database(
    panel: Panel, config: CircuitBreakerConfig, open_message: str, loop_time: LoopTime | None = None
) -> Dependency:
    """The guard for MongoDB under the policy `config`. DuplicateKeyError comes out as itself: an answer."""
    return Dependency(
        panel,
        config,
        judge=judge_mongo,
        failed=Code.DATABASE_ERROR,
        failed_message="database error",
        open_message=open_message,
        loop_time=loop_time,
    )
