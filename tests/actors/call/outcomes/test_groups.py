"""Groups of exceptions count once, by the outcomes of their leaves."""

from __future__ import annotations

import pytest
import trio

from actors import Outcome, Panel
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.outcomes.classifying import FAILURE, IGNORED, SUCCESS, NotFound, classify
from tests.actors.styles import Style, in_every_style

GROUPS = [
    ([NotFound(), NotFound()], SUCCESS),
    ([NotFound(), KeyError()], SUCCESS),
    ([KeyError(), KeyError()], IGNORED),
    ([NotFound(), OSError()], FAILURE),
    ([KeyError(), OSError()], FAILURE),
    ([KeyError(), ExceptionGroup("", [NotFound()])], SUCCESS),
    ([NotFound(), ExceptionGroup("", [KeyError(), OSError()])], FAILURE),
]


@in_every_style
@pytest.mark.parametrize(("leaves", "outcome"), GROUPS)
async def test_a_group_is_a_failure_if_one_leaf_is_and_otherwise_an_answer_if_one_leaf_is(
    panel: Panel, call: Style, leaves: list[Exception], outcome: Outcome
) -> None:
    breaker = new_breaker(panel, answers=NotFound, ignore=KeyError)
    dependency = ScriptedDependency()
    error = ExceptionGroup("both", leaves)
    dependency.then(error)
    with pytest.raises(ExceptionGroup) as raised:
        await call(breaker, dependency)
    assert raised.value is error
    assert await outcome_counts(breaker) == {outcome.value: 1}


@pytest.mark.parametrize(
    ("leaf", "outcome"), [(NotFound(), SUCCESS), (KeyError(), IGNORED), (OSError(), FAILURE)]
)
async def test_a_cancellation_in_a_group_does_not_change_its_outcome(
    leaf: Exception, outcome: Outcome
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            both = BaseExceptionGroup("", [cancelled, leaf])
            assert classify(both, answers=NotFound, ignore=KeyError) is outcome
            assert classify(BaseExceptionGroup("", [cancelled])) is Outcome.CANCELLED
            raise
