"""The classes of the breaker's errors: their bases and attributes."""

from __future__ import annotations

import pytest

from actors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreakerError,
    CircuitOpenError,
    PanelClosedError,
    PanelFailedError,
)


def test_a_call_timeout_has_no_errno() -> None:
    error = CallTimeout("it", 2)
    assert isinstance(error, TimeoutError)
    assert error.errno is None
    assert error.strerror is None
    assert error.timeout == 2.0
    assert error.args == ("it", 2)


def test_only_rejections_have_the_base_class_call_rejected() -> None:
    kinds = {CircuitOpenError, BulkheadFullError, CallTimeout, PanelClosedError, PanelFailedError}
    assert {kind for kind in kinds if issubclass(kind, CallRejected)} == {CircuitOpenError, BulkheadFullError}
    assert all(issubclass(kind, CircuitBreakerError) for kind in kinds)


def test_the_base_class_of_rejections_has_no_facts() -> None:
    error = CallRejected("it")
    for name in ("name", "retry_after", "reason", "waits_for"):
        with pytest.raises(NotImplementedError):
            getattr(error, name)
