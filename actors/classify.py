"""What an exception or a result means to a breaker. Never asked about trio.Cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio

from actors.checks import credible_wait
from actors.config import CircuitBreakerConfig, ExceptionMatch
from protocols.breaker import Outcome

logger = logging.getLogger("actors")
SEVEREST_FIRST = (Outcome.FAILURE, Outcome.IGNORED, Outcome.CANCELLED)


def kind_of(error: BaseException) -> str:
    """What people look an error up by: the name of the first class in its order that isn't private."""
    return next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))


class Classifier:
    """Asks a policy's predicates. One that raises makes the call a failure, and is logged."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._name = config.name
        self._is_failure = _predicate(config.failure)
        self._is_ignored = _predicate(config.ignore)
        self._failure_result = config.failure_result
        self._retry_after = config.retry_after

    def exception(self, error: BaseException) -> Outcome:
        """CANCELLED for a bare cancellation; a group fails if any leaf of it does."""
        if isinstance(error, BaseExceptionGroup):
            outcomes = {self.exception(inner) for inner in error.exceptions}
            return next(outcome for outcome in SEVEREST_FIRST if outcome in outcomes)
        if isinstance(error, trio.Cancelled | GeneratorExit):
            return Outcome.CANCELLED
        return Outcome.FAILURE if self._leaf_failed(error) else Outcome.IGNORED

    def result(self, value: Any) -> Outcome:
        """What a returned value means."""
        if self._failure_result is None:
            return Outcome.SUCCESS
        try:
            return Outcome.FAILURE if self._failure_result(value) else Outcome.SUCCESS
        except Exception as error:  # noqa: BLE001 - a user's predicate may raise anything
            self._report("failure_result", error)
            return Outcome.FAILURE

    def retry_after(self, outcome: Any) -> float | None:
        """How long the server says to wait, seconds; None where it doesn't say or says nonsense."""
        if self._retry_after is None:
            return None
        try:
            wait = self._retry_after(outcome)
            return float(wait) if credible_wait(wait) else None
        except Exception:
            logger.exception("circuit breaker %r: retry_after raised; ignored", self._name)
            return None

    def _leaf_failed(self, leaf: BaseException) -> bool:
        try:
            return not self._is_ignored(leaf) and bool(self._is_failure(leaf))
        except Exception as error:  # noqa: BLE001 - a user's predicate may raise anything
            self._report("failure or ignore", error)
            return True

    def _report(self, field: str, error: Exception) -> None:
        logger.error(
            "circuit breaker %r: %s raised; the call counts as a failure", self._name, field, exc_info=error
        )


def _predicate(match: ExceptionMatch) -> Callable[[BaseException], bool]:
    if isinstance(match, type | tuple):
        kinds = match
        return lambda error: isinstance(error, kinds)
    return match
