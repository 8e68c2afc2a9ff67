"""The time limit of a call, by the caller's remaining time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from services.deadlines import seconds_for_call


async def test_without_a_deadline_a_call_may_take_its_longest(mock_clock: MockClock) -> None:
    assert seconds_for_call(5) == 5


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(30, 5), (5, 4.5), (1, 0.9), (0.28, 0.252), (0.27, 5), (0.001, 5), (0, 5)],
)
async def test_a_call_gets_a_share_of_its_callers_time_unless_that_is_too_short(
    mock_clock: MockClock, left: float, seconds: float
) -> None:
    with trio.move_on_after(left):
        assert seconds_for_call(5) == pytest.approx(seconds)
        await trio.lowlevel.checkpoint()
