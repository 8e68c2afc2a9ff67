"""Known failures of limits by the gradient of latency. A naive limiter shows each of them here."""

from __future__ import annotations

import pytest

from tests.actors.adaptive_limit.limiting import Limiting
from tests.actors.adaptive_limit.naive import FixedBaseline, Gradient, Measuring

STEADY = 0.1


@pytest.mark.parametrize("gradient", [0.95, 0.8, 0.6])
def test_a_moderate_overload_never_raises_the_limit(gradient: float) -> None:
    """The naive limit creeps up: its room for a queue adds more than a gradient near 0.8 takes away."""
    naive = FixedBaseline(STEADY, initial=10)
    crept = [naive.window(STEADY / gradient) for _ in range(300)]
    if gradient >= 0.8:
        assert crept == sorted(crept)
        assert crept[-1] >= 24
    ours = Limiting(baseline=STEADY, initial=10, tolerance=1.1)
    seen = [10, *ours.windows(60, STEADY * 1.1 * 1.1 / gradient)]
    # At the minimum the same latency can't be an overload by these calls: it becomes the baseline.
    down = seen[: seen.index(2) + 1]
    assert down == sorted(down, reverse=True)


@pytest.mark.parametrize("before", [0.1, 4.9])
def test_constant_time_outs_never_raise_the_limit(before: float) -> None:
    """The naive limiter takes a constant latency for a calm one, and goes to the maximum."""
    naive = Gradient()
    naive.window(before)
    assert [naive.window(5.0) for _ in range(300)][-1] == 100
    ours = Limiting(baseline=before)
    seen = [20, *ours.windows(300, 5.0, failed=100)]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == (2 if before == 0.1 else 20)
    assert ours.limiter.baseline == before


def test_time_outs_from_the_start_never_raise_the_limit() -> None:
    """Without a success there is no baseline."""
    naive = Gradient()
    assert [naive.window(5.0) for _ in range(300)][-1] == 100
    ours = Limiting(baseline=None)
    assert set(ours.windows(300, 5.0, failed=100)) == {20}
    assert ours.limiter.baseline is None


def latency(limit: int, capacity: int) -> float:
    """Of a dependency that serves `capacity` calls at once, while `limit` calls are always in flight."""
    return STEADY * max(1.0, limit / capacity)


def test_an_overload_does_not_become_the_baseline() -> None:
    """The naive long average follows the queue that the limit allows, which then may grow again."""
    naive = Gradient()
    naive.window(STEADY)
    for _ in range(1000):
        naive.window(latency(naive.limit, 10))
    assert (naive.long or 0) > 5 * STEADY
    assert naive.limit == 100
    ours = Limiting(baseline=STEADY)
    seen = [ours.window(latency(ours.limiter.limit, 10)) for _ in range(1000)]
    assert ours.limiter.baseline == pytest.approx(STEADY)
    assert min(seen) >= 10
    assert max(seen) <= 30


def test_a_start_in_an_overload_is_bounded_by_the_first_measurement() -> None:
    """The baseline may be too high then, but it can't grow."""
    ours = Limiting(baseline=None, initial=20)
    seen = [ours.window(latency(ours.limiter.limit, 5)) for _ in range(1000)]
    assert ours.limiter.baseline == pytest.approx(STEADY * 4)
    assert max(seen) <= 20 * 2 * 1.1 + 44**0.5 + 1


def test_no_call_is_rejected_for_a_measurement() -> None:
    """The naive limiter rejects most of a steady load while it measures: a burst of 503."""
    load = 15
    naive = Measuring(limit=40)
    assert max(max(0, load - naive.window(STEADY)) for _ in range(300)) == 12
    ours = Limiting(baseline=STEADY, initial=40)
    seen = ours.windows(10_000, STEADY, in_flight=load)
    assert min(seen) >= load


def test_a_dependency_that_is_slower_for_good_gets_its_limit_back() -> None:
    """The limit falls to the minimum, where latency is measured anew, and grows from there."""
    ours = Limiting(baseline=STEADY, initial=40)
    seen = ours.windows(40, 10 * STEADY)
    assert min(seen) == 2
    assert seen[-1] >= 40
    assert ours.limiter.baseline == pytest.approx(10 * STEADY, rel=0.6)
