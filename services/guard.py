"""A breaker around a dependency, and the contract's answers when the dependency or the breaker says no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar

import structlog
from pymongo.errors import DuplicateKeyError, PyMongoError

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
)
from actors.adapters.answers import execute_answering
from actors.adapters.mongo import is_failure
from actors.classify import kind_of
from protocols.http import Code
from runtime import telemetry
from runtime.web import ApiError, unavailable

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("services")


class Guard:
    """Runs operations on one dependency through one breaker.

    is_answer: exceptions with which the dependency answered. To the breaker such a call has succeeded;
    the exception still comes out of `run`.
    errors: what the dependency raises; all but answers become an ApiError `failed` with `failed_message`.
    open_message: what a caller is told while the breaker doesn't admit.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        *,
        is_answer: Callable[[Exception], bool],
        errors: tuple[type[Exception], ...],
        failed: Code,
        failed_message: str,
        open_message: str,
    ) -> None:
        self._breaker = telemetry.traced_breaker(breaker)
        self._is_answer = is_answer
        self._errors: tuple[type[Exception], ...] = (CallTimeout, *errors)
        self._failed = failed
        self._failed_message = failed_message
        self._open_message = open_message

    async def run(self, operation: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `operation(*args)`. Raises ApiError where the breaker rejects it or the dependency fails.

        Both carry the breaker's name as failure origin. Cancelling counts neither way.
        """
        name = self._breaker.name
        try:
            return await execute_answering(self._breaker, self._is_answer, operation, *args, **kwargs)
        except (CircuitOpenError, BulkheadFullError) as error:
            raise unavailable(name, self._open_message, error.retry_after) from error
        except self._errors as error:
            if self._is_answer(error):
                raise
            # The message of a driver's error may quote a document.
            log.warning("a dependency failed", breaker=name, kind=kind_of(error))
            raise ApiError(self._failed, self._failed_message, failure_origin=name) from error


def guard_database(panel: Panel, config: CircuitBreakerConfig, open_message: str) -> Guard:
    """The guard for MongoDB under the policy `config`. DuplicateKeyError comes out as itself: an answer."""
    return Guard(
        panel.breaker(replace(config, failure=is_failure)),
        is_answer=lambda error: isinstance(error, DuplicateKeyError),
        errors=(PyMongoError,),
        failed=Code.DATABASE_ERROR,
        failed_message="database error",
        open_message=open_message,
    )
