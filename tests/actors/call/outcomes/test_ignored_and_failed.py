"""Ignored exceptions, results that are failures, and which field of a policy wins."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from actors import Outcome, Panel, State
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import new_breaker
from tests.actors.call.outcomes.classifying import FAILURE, IGNORED, SUCCESS, NotFound, UserNotFound, classify
from tests.actors.styles import Style, in_every_style


async def test_an_ignored_exception_is_counted_and_changes_no_state(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=2, ignore=KeyError)
    dependency.then(DependencyDown(), KeyError(), KeyError(), DependencyDown())
    for error in (DependencyDown, KeyError, KeyError, DependencyDown):
        with pytest.raises(error):
            await breaker.execute(dependency)
    assert breaker.state is State.OPEN
    assert (await breaker.snapshot()).counts["ignored"] == 2


async def test_a_failing_result_counts_as_a_failure_and_is_returned(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=2, failure_result=lambda value: value == 503)
    dependency.then(503, 503)
    assert [await breaker.execute(dependency) for _ in range(2)] == [503, 503]
    assert breaker.state is State.OPEN


@in_every_style
async def test_an_ignored_exception_leaves_a_breaker_half_open(
    panel: Panel, mock_clock: MockClock, call: Style
) -> None:
    """An ignored exception is no evidence that the dependency works."""
    breaker = new_breaker(panel, ignore=NotFound)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    for _ in range(3):
        with pytest.raises(NotFound):
            await call(breaker, dependency)
    assert breaker.state is State.HALF_OPEN
    assert (await breaker.snapshot()).in_flight == 0


@pytest.mark.parametrize(
    ("error", "fields", "outcome"),
    [
        (NotFound(), {"answers": NotFound}, SUCCESS),
        (UserNotFound(), {"answers": NotFound}, SUCCESS),
        (NotFound(), {"answers": UserNotFound}, FAILURE),
        (NotFound(), {"answers": NotFound, "failure": NotFound}, SUCCESS),
        (NotFound(), {"answers": NotFound, "ignore": NotFound}, IGNORED),
        (NotFound(), {"answers": NotFound, "failure": OSError}, SUCCESS),
        (NotFound(), {"failure": NotFound, "ignore": NotFound}, IGNORED),
        (NotFound(), {"failure": lambda error: True, "ignore": lambda error: True}, IGNORED),
        (KeyboardInterrupt(), {"answers": NotFound}, IGNORED),
        (NotFound(), {"answers": lambda error: 1 / 0}, FAILURE),
        (NotFound(), {"answers": lambda error: 1 / 0, "ignore": NotFound}, IGNORED),
        (NotFound(), {"answers": lambda error: 1 / 0, "failure": OSError}, FAILURE),
    ],
)
def test_ignore_wins_over_answers_and_answers_over_failure(
    error: BaseException, fields: dict[str, Any], outcome: Outcome
) -> None:
    assert classify(error, **fields) is outcome
