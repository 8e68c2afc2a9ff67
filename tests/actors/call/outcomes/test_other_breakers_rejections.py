"""Rejections by another breaker count only if `failure` names their types or is a predicate."""

from __future__ import annotations

from typing import Any

import pytest

from actors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreakerError,
    CircuitOpenError,
    Outcome,
    Panel,
    PanelClosedError,
    State,
)
from actors.policy.config import ExceptionMatch
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.outcomes.classifying import FAILURE, IGNORED, SUCCESS, classify
from tests.actors.styles import Style, in_every_style

REJECTIONS = [CircuitOpenError("inner"), BulkheadFullError("inner"), PanelClosedError()]


@in_every_style
@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: type(error).__name__)
async def test_another_breakers_rejection_is_ignored(panel: Panel, call: Style, error: Exception) -> None:
    breaker = new_breaker(panel, max_failures=1)
    dependency = ScriptedDependency()
    dependency.breaks(error)
    for _ in range(3):
        with pytest.raises(type(error)):
            await call(breaker, dependency)
    assert breaker.state is State.CLOSED
    assert await outcome_counts(breaker) == {"ignored": 3}


@pytest.mark.parametrize(
    ("failure", "outcomes"),
    [
        (Exception, [IGNORED, IGNORED, IGNORED]),
        ((Exception, OSError), [IGNORED, IGNORED, IGNORED]),
        (CircuitBreakerError, [FAILURE, FAILURE, FAILURE]),
        (CallRejected, [FAILURE, FAILURE, IGNORED]),
        ((OSError, BulkheadFullError), [IGNORED, FAILURE, IGNORED]),
        (lambda error: True, [FAILURE, FAILURE, FAILURE]),
        (lambda error: False, [IGNORED, IGNORED, IGNORED]),
    ],
)
def test_a_rejection_counts_if_its_type_is_named_or_a_predicate_matches(
    failure: Any, outcomes: list[Outcome]
) -> None:
    assert [classify(error, failure=failure) for error in REJECTIONS] == outcomes


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: type(error).__name__)
def test_a_rejection_can_be_an_answer(error: Exception) -> None:
    assert classify(error, answers=CircuitBreakerError) is SUCCESS


OPEN, FULL, CLOSED = CircuitOpenError("other"), BulkheadFullError("other", 1), PanelClosedError()


@pytest.mark.parametrize(
    ("failure", "error", "outcome"),
    [
        (Exception, OPEN, IGNORED),
        (Exception, CLOSED, IGNORED),
        ((Exception, CallTimeout), OPEN, IGNORED),
        ((Exception, CallTimeout), CallTimeout("other"), FAILURE),
        ((Exception, BulkheadFullError), OPEN, IGNORED),
        ((Exception, BulkheadFullError), FULL, FAILURE),
        (CallRejected, OPEN, FAILURE),
        (CallRejected, CLOSED, IGNORED),
        (lambda _: True, OPEN, FAILURE),
        (lambda _: False, OPEN, IGNORED),
    ],
)
def test_a_rejection_by_another_breaker_counts_if_its_own_type_is_named(
    failure: ExceptionMatch, error: Exception, outcome: Outcome
) -> None:
    assert classify(error, failure=failure) is outcome
