"""Classifies exceptions and results as outcomes. No predicate of a policy is called with trio.Cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio

from ..errors import CallTimeout, CircuitBreakerError
from ..messages import Outcome
from ..policy.checks import credible_wait
from ..policy.config import CircuitBreakerConfig, ExceptionMatch

logger = logging.getLogger("trio_breakers")
SEVEREST_FIRST = (Outcome.FAILURE, Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED)
"""A group has the first of these outcomes that one of its leaves has: one failure makes it a failure."""


def kind_of(error: BaseException) -> str:
    """The name of an error's first class, in the order of inheritance, that isn't private."""
    return next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))


def never_began(error: BaseException) -> bool:
    """Whether a call's function was called wrongly, or returned what can't be awaited.

    Then the TypeError comes from the very line that calls and awaits it: a traceback of one frame.
    """
    trace = error.__traceback__
    return isinstance(error, TypeError) and trace is not None and trace.tb_next is None


class Classifier:
    """Applies a policy's predicates. One that raises makes the call a failure, and is logged once."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._name = config.name
        self._is_failure = _predicate(config.failure)
        self._is_ignored = _predicate(config.ignore)
        self._is_answer = _predicate(config.answers)
        self._counts_rejection = _counts_rejection(config.failure)
        self._failure_result = config.failure_result
        self._retry_after = config.retry_after
        self._reported: set[tuple[str, type[Exception]]] = set()

    def exception(self, error: BaseException) -> Outcome:
        """The outcome of an exception: CANCELLED for a bare cancellation. A group fails if any leaf does."""
        if isinstance(error, BaseExceptionGroup):
            outcomes = {self.exception(inner) for inner in error.exceptions}
            return next(outcome for outcome in SEVEREST_FIRST if outcome in outcomes)
        if isinstance(error, trio.Cancelled | GeneratorExit):
            return Outcome.CANCELLED
        return self._leaf(error)

    def result(self, value: Any) -> Outcome:
        """The outcome of a returned value."""
        if self._failure_result is None:
            return Outcome.SUCCESS
        try:
            return Outcome.FAILURE if self._failure_result(value) else Outcome.SUCCESS
        except Exception as error:  # noqa: BLE001 - a user's predicate may raise anything
            self._report("failure_result", error, "the call counts as a failure")
            return Outcome.FAILURE

    def retry_after(self, outcome: Any) -> float | None:
        """Seconds that the server asks to wait; None if it doesn't ask, or not for a credible time.

        outcome: the exception or the returned value.
        """
        if self._retry_after is None:
            return None
        try:
            wait = self._retry_after(outcome)
            return float(wait) if credible_wait(wait) else None
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self._report("retry_after", error, "it is ignored")
            return None

    def _leaf(self, leaf: BaseException) -> Outcome:
        field = "ignore"
        try:
            if self._is_ignored(leaf):
                return Outcome.IGNORED
            field = "answers"
            if self._is_answer(leaf):
                return Outcome.SUCCESS
            field = "failure"
            if _is_rejection(leaf) and not self._counts_rejection(leaf):
                return Outcome.IGNORED
            return Outcome.FAILURE if self._is_failure(leaf) else Outcome.IGNORED
        except Exception as error:  # noqa: BLE001 - a user's predicate may raise anything
            self._report(field, error, "the call counts as a failure")
            return Outcome.FAILURE

    def _report(self, field: str, error: Exception, then: str) -> None:
        """Log once for each field and kind of error: an outage calls a broken predicate at every call."""
        if (kind := (field, type(error))) not in self._reported:
            self._reported.add(kind)
            values = (self._name, field, kind_of(error), then)
            logger.error("circuit breaker %r: %s raised %s; %s", *values, exc_info=error)


def _is_rejection(error: BaseException) -> bool:
    """Whether another breaker rejected a call, or had ended: this breaker's dependency hasn't failed."""
    return isinstance(error, CircuitBreakerError) and not isinstance(error, CallTimeout)


def _counts_rejection(failure: ExceptionMatch) -> Callable[[BaseException], bool]:
    """Make the check whether a policy counts a rejection: it names its type, or has a predicate for all."""
    if not isinstance(failure, type | tuple):
        return lambda _: True
    kinds = failure if isinstance(failure, tuple) else (failure,)
    named = tuple(kind for kind in kinds if issubclass(kind, CircuitBreakerError))
    return lambda error: isinstance(error, named)


def _predicate(match: ExceptionMatch) -> Callable[[BaseException], bool]:
    if not isinstance(match, type | tuple):
        return match
    kinds = match if isinstance(match, tuple) else (match,)
    # trio's own time-out isn't a TimeoutError, but a policy that names TimeoutError means it too.
    if any(issubclass(TimeoutError, kind) for kind in kinds):
        kinds = (*kinds, trio.TooSlowError)
    return lambda error: isinstance(error, kinds)
