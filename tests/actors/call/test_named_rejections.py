"""Which rejections by another breaker a policy counts: those that `failure` names by their types."""

from __future__ import annotations

import pytest

from actors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreakerConfig,
    CircuitOpenError,
    PanelClosedError,
)
from actors.call.classifier import Classifier
from actors.messages import Outcome
from actors.policy.config import ExceptionMatch

OPEN, FULL, CLOSED = CircuitOpenError("other"), BulkheadFullError("other", 1), PanelClosedError()


@pytest.mark.parametrize(
    ("failure", "error", "outcome"),
    [
        (Exception, OPEN, Outcome.IGNORED),
        (Exception, CLOSED, Outcome.IGNORED),
        ((Exception, CallTimeout), OPEN, Outcome.IGNORED),
        ((Exception, CallTimeout), CallTimeout("other"), Outcome.FAILURE),
        ((Exception, BulkheadFullError), OPEN, Outcome.IGNORED),
        ((Exception, BulkheadFullError), FULL, Outcome.FAILURE),
        (CallRejected, OPEN, Outcome.FAILURE),
        (CallRejected, CLOSED, Outcome.IGNORED),
        (lambda _: True, OPEN, Outcome.FAILURE),
        (lambda _: False, OPEN, Outcome.IGNORED),
    ],
)
def test_a_rejection_by_another_breaker_counts_where_its_own_type_is_named(
    failure: ExceptionMatch, error: Exception, outcome: Outcome
) -> None:
    assert Classifier(CircuitBreakerConfig(name="this", failure=failure)).exception(error) is outcome
