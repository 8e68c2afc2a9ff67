"""Errors made by hand, as in the tests of code that catches them."""

from __future__ import annotations

import copy

import pytest

from actors import BulkheadFullError, CallTimeout, CircuitBreakerError, CircuitOpenError, RejectReason, State
from tests.actors.call.rejections.copies import facts, pickled
from tests.actors.call.rejections.rejecting import DOWN, PROBING_TEXT


@pytest.mark.parametrize(
    ("error", "said", "shown"),
    [
        (
            CircuitOpenError("it"),
            "circuit breaker 'it' is OPEN, waiting for the end of its wait; retry after 1.000 s",
            "CircuitOpenError('it', <State.OPEN: 2>, None, <RejectReason.OPEN: 'open'>, None, None)",
        ),
        (
            CircuitOpenError("it", State.HALF_OPEN, 0.5, RejectReason.PROBING, "OSError", 3.0),
            PROBING_TEXT.replace(DOWN, "OSError").format("3.000", "0.500"),
            (
                "CircuitOpenError('it', <State.HALF_OPEN: 1>, 0.5, "
                "<RejectReason.PROBING: 'probing'>, 'OSError', 3.0)"
            ),
        ),
        (
            CircuitOpenError("it", State.FORCED_OPEN, None, RejectReason.FORCED),
            "circuit breaker 'it' is FORCED_OPEN, waiting for an operator; retry after 30.000 s",
            (
                "CircuitOpenError('it', <State.FORCED_OPEN: 3>, None, "
                "<RejectReason.FORCED: 'forced'>, None, None)"
            ),
        ),
        (
            BulkheadFullError("it"),
            "circuit breaker 'it': as many calls as are allowed are running already",
            "BulkheadFullError('it')",
        ),
        (
            BulkheadFullError("it", 5),
            "circuit breaker 'it': 5 calls are running already",
            "BulkheadFullError('it', 5)",
        ),
        (CallTimeout("it"), "circuit breaker 'it': the call took too long", "CallTimeout('it')"),
        (
            CallTimeout("it", 2.5),
            "circuit breaker 'it': the call took longer than 2.5 s",
            "CallTimeout('it', 2.5)",
        ),
    ],
    ids=lambda one: repr(one)[:20] if isinstance(one, Exception) else "",
)
def test_an_error_made_by_hand_has_text_and_repr_and_equal_copies(
    error: CircuitBreakerError, said: str, shown: str
) -> None:
    assert str(error) == said
    assert repr(error) == shown
    for copied in (pickled, copy.copy, copy.deepcopy):
        assert facts(copied(error)) == facts(error)
    assert error.name == "it"  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", State)
def test_an_error_converts_numbers_and_texts_to_state_and_reason(state: State) -> None:
    error = CircuitOpenError("it", int(state), 1.0, "ramp")
    assert error.state == state
    assert type(error.state) is State
    assert error.reason is RejectReason.RAMP


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.OPEN, RejectReason.OPEN),
        (State.HALF_OPEN, RejectReason.PROBING),
        (State.CLOSED, RejectReason.RAMP),
        (State.FORCED_OPEN, RejectReason.FORCED),
    ],
)
def test_an_error_made_without_a_reason_has_the_reason_of_its_state(
    state: State, reason: RejectReason
) -> None:
    assert CircuitOpenError("it", state).reason is reason


class Priced(CircuitOpenError):
    """A user's subclass."""


def test_a_subclass_keeps_its_type_in_its_repr_and_copies() -> None:
    error = Priced("it")
    error.price = 3  # type: ignore[attr-defined]
    again = pickled(error)
    assert type(again) is Priced
    assert again.price == 3
    assert repr(again)[:12] == "Priced('it',"
