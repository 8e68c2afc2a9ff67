"""retry_after between deadline and wakeup, and unix_opened_at through a whole outage."""

from __future__ import annotations

from trio.testing import MockClock

from actors import Panel
from actors.testing import advance
from tests.actors.policies import policy


async def test_retry_after_is_0_between_the_deadline_and_the_wakeup(
    panel: Panel, mock_clock: MockClock
) -> None:
    """It is never negative."""
    breaker = panel.breaker(policy())
    await breaker.trip()
    mock_clock.jump(61)
    assert breaker.retry_after == 0


async def test_unix_opened_at_is_the_first_opening_of_an_outage(panel: Panel, mock_clock: MockClock) -> None:
    """A probe and a failed recovery leave it as it is; a reset sets it to 0."""
    breaker = panel.breaker(policy())
    began = []
    await breaker.trip()
    for _ in range(3):
        began.append((await breaker.snapshot()).unix_opened_at)
        await advance(mock_clock, 60)
        began.append((await breaker.snapshot()).unix_opened_at)
        await breaker.trip()
    assert began[0] > 0
    assert len(set(began)) == 1
    await breaker.reset()
    assert (await breaker.snapshot()).unix_opened_at == 0
