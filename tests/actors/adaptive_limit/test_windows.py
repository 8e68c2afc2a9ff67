"""The rules of the limiter, window by window."""

from __future__ import annotations

import pytest

from actors import AdaptiveLimit, CircuitBreakerConfig
from tests.actors.adaptive_limit.limiting import CALLS, Limiting

BASE = 0.1
TOLERABLE = BASE * 2 * 1.1
"""The tolerance is 2; a window of 100 calls has a tenth more for chance."""


@pytest.mark.parametrize(
    ("duration", "fields", "limit"),
    [
        (BASE, {}, 30),
        (TOLERABLE, {}, 30),
        (TOLERABLE * 1.25, {}, 20),
        (TOLERABLE * 2, {}, 12),
        (TOLERABLE * 50, {}, 12),
        (BASE, {"in_flight": 13}, 30),
        (BASE, {"in_flight": 12}, 25),
        (BASE, {"failed": 9}, 30),
        (BASE, {"failed": 10}, 25),
        (BASE / 100, {"failed": 60}, 25),
        (TOLERABLE * 2, {"failed": 60}, 12),
        (TOLERABLE * 2, {"in_flight": 3}, 12),
        (TOLERABLE * 2, {"in_flight": 2}, 25),
    ],
)
def test_a_window_changes_the_limit(duration: float, fields: dict[str, int], limit: int) -> None:
    """A used limit grows by its square root. It shrinks in proportion, at most to half. Else it stays."""
    ours = Limiting(baseline=BASE, initial=25)
    assert ours.window(duration, **fields) == limit


@pytest.mark.parametrize(
    ("duration", "fields", "baseline"),
    [
        (0.05, {}, 0.09),
        (0.05, {"calls": 20}, 0.098),
        (0.05, {"failed": 50}, 0.09),
        (0.05, {"failed": 51}, 0.1),
        (0.2, {}, 0.1),
        (0.2, {"in_flight": 3}, 0.1),
        (0.2, {"in_flight": 2}, 0.12),
        (0.05, {"in_flight": 2, "calls": 20}, 0.09),
        (5.0, {"in_flight": 2, "failed": 51}, 0.1),
    ],
)
def test_a_window_moves_the_baseline(duration: float, fields: dict[str, int], baseline: float) -> None:
    """It falls under any load, less for fewer calls; it rises only if few calls were in flight."""
    ours = Limiting(baseline=0.1, initial=25)
    ours.window(duration, **fields)
    assert ours.limiter.baseline == pytest.approx(baseline)


def test_a_window_lasts_its_seconds_and_its_calls() -> None:
    ours = Limiting(baseline=BASE, initial=25)
    begun = ours.now

    def limits(*times: float) -> list[int]:
        found = []
        for now in times:
            ours.limiter.record(BASE, failed=False, in_flight=25, now=begun + now)
            found.append(ours.limiter.limit)
        return found

    assert limits(*[0.01] * 200, 0.99) == [25] * 201
    assert limits(1.0) == [30]
    assert limits(*[50.0] * 9) == [30] * 9
    assert limits(50.0) == [35]


def test_a_window_lasts_twice_the_latency_of_the_one_before() -> None:
    """So that it has calls that began under its limit."""
    ours = Limiting(baseline=2.0, initial=25)
    begun = ours.now
    for _ in range(CALLS):
        ours.limiter.record(2.0, failed=False, in_flight=25, now=begun + 3.9)
    assert ours.limiter.limit == 25
    ours.limiter.record(2.0, failed=False, in_flight=25, now=begun + 4.0)
    assert ours.limiter.limit == 30


def test_a_window_is_judged_by_its_last_calls_and_its_peak() -> None:
    """The limiter uses the maximum of calls in flight, and the last hundred calls."""
    ours = Limiting(baseline=BASE, initial=25)
    begun = ours.now
    for number in range(300):
        slow, peak = number < 200, 25 if number == 0 else 1
        ours.limiter.record(9.0 if slow else BASE, failed=False, in_flight=peak, now=begun + 0.5)
    ours.limiter.record(BASE, failed=False, in_flight=1, now=begun + 1)
    assert ours.limiter.limit == 30


def test_the_peak_is_that_of_the_window() -> None:
    """A limit that was used up once isn't used from then on."""
    ours = Limiting(baseline=BASE, initial=25)
    assert ours.window(BASE, in_flight=25) == 30
    assert ours.windows(3, BASE, in_flight=9) == [30, 30, 30]


def test_the_baseline_is_first_that_of_the_calls_that_began_first() -> None:
    """The calls that end first are the quickest; the other calls were queued behind them."""
    ours = Limiting(baseline=None)
    ends = sorted((n / 100 + took, took) for n in range(80) for took in [0.1 if n < 40 else 0.01])
    for end, took in [*ends, (1.2, 0.3)]:
        ours.limiter.record(took, failed=False, in_flight=9, now=end)
    assert ours.limiter.baseline == pytest.approx(0.1)


def test_a_millisecond_of_our_own_is_no_congestion() -> None:
    ours = Limiting(baseline=1e-5, initial=25)
    assert ours.window(0.002) == 30
    assert ours.window(0.0) == 35


def test_other_settings_keep_what_was_measured() -> None:
    ours = Limiting(baseline=BASE, initial=25)
    ours.limiter.configure(AdaptiveLimit(minimum=30, maximum=40))
    assert (ours.limiter.limit, ours.limiter.baseline) == (30, BASE)
    assert ours.windows(3, BASE) == [35, 40, 40]
    ours.limiter.configure(AdaptiveLimit(maximum=10))
    assert ours.limiter.limit == 10


@pytest.mark.parametrize(
    ("fields", "start"),
    [({}, 20), ({"maximum": 9}, 9), ({"minimum": 30}, 30), ({"initial": 5}, 5)],
)
def test_a_limit_starts_within_its_bounds(fields: dict[str, int], start: int) -> None:
    assert AdaptiveLimit(**fields).limiter().limit == start


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minimum": 0}, "AdaptiveLimit.minimum must be a whole number of at least 1, got 0"),
        ({"minimum": 5, "maximum": 4}, "AdaptiveLimit.maximum must be a whole number of at least 5, got 4"),
        ({"initial": 1}, "AdaptiveLimit.initial must be a whole number of at least 2 and at most 100, got 1"),
        ({"initial": 101}, "AdaptiveLimit.initial must be a whole number of at least 2 and at most 100"),
        ({"tolerance": 1}, "AdaptiveLimit.tolerance must be a number above 1, got 1"),
        ({"window": 0}, "AdaptiveLimit.window must be a number above 0, got 0"),
    ],
)
def test_a_bad_setting_is_named(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveLimit(**fields)  # type: ignore[arg-type]


def test_a_policy_takes_a_number_or_an_adaptive_limit() -> None:
    limit = AdaptiveLimit(maximum=50)
    assert CircuitBreakerConfig(name="it", max_concurrent=limit, max_queue=3).max_concurrent == limit
    with pytest.raises(ValueError, match="max_concurrent must be a whole number"):
        CircuitBreakerConfig(name="it", max_concurrent="8")  # type: ignore[arg-type]
