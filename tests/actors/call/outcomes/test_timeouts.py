"""Timeouts of trio, of the standard library and of breakers, in the fields of a policy."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CallTimeout, Panel, State
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.outcomes.classifying import FAILURE, IGNORED, SUCCESS, classify
from tests.actors.styles import Style, in_every_style

TIMEOUTS = [trio.TooSlowError(), TimeoutError(), CallTimeout("other", 1)]


@pytest.mark.parametrize("error", TIMEOUTS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [TimeoutError, OSError, Exception, (KeyError, TimeoutError)], ids=repr)
def test_timeouterror_in_a_policy_matches_every_timeout(error: Exception, kind: Any) -> None:
    assert classify(error, failure=kind) is FAILURE
    assert classify(error, ignore=kind) is IGNORED
    assert classify(error, answers=kind) is SUCCESS


@pytest.mark.parametrize("kind", [KeyError, ConnectionError, (), CallTimeout])
def test_trios_timeout_matches_no_other_type(kind: Any) -> None:
    assert classify(trio.TooSlowError(), failure=kind) is IGNORED
    assert classify(trio.TooSlowError(), ignore=kind) is FAILURE
    assert classify(trio.TooSlowError(), answers=kind) is FAILURE


def test_trios_timeout_can_be_the_only_failure_of_a_policy() -> None:
    assert classify(trio.TooSlowError(), failure=trio.TooSlowError) is FAILURE
    assert classify(TimeoutError(), failure=trio.TooSlowError) is IGNORED


def test_a_predicate_gets_trios_timeout_unchanged() -> None:
    assert classify(trio.TooSlowError(), failure=lambda error: isinstance(error, TimeoutError)) is IGNORED


@in_every_style
async def test_trios_timeout_counts_in_every_style(
    panel: Panel, autojump_clock: MockClock, call: Style
) -> None:
    breaker = new_breaker(panel, failure=TimeoutError, max_failures=2)

    async def too_slow() -> None:
        with trio.fail_after(1):
            await trio.sleep(2)

    for _ in range(2):
        with pytest.raises(trio.TooSlowError):
            await call(breaker, too_slow)
    assert breaker.state is State.OPEN


@in_every_style
@pytest.mark.parametrize("field", ["ignore", "answers"])
async def test_a_breakers_own_call_timeout_is_a_failure_whatever_the_policy_says_of_timeouts(
    panel: Panel, autojump_clock: MockClock, call: Style, field: str
) -> None:
    breaker = new_breaker(panel, call_timeout=1, **{field: TimeoutError})

    async def too_slow() -> None:
        await trio.sleep(2)

    with pytest.raises(TimeoutError) as raised:
        await call(breaker, too_slow)
    assert isinstance(raised.value, CallTimeout)
    assert await outcome_counts(breaker) == {"failure": 1}


def test_a_call_timeout_of_another_breaker_is_a_failure() -> None:
    """The dependency was called, and was too slow."""
    assert classify(CallTimeout("inner", 1)) is FAILURE
