"""Properties of every limiter under every history of calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors import AdaptiveLimit
from actors.policy.adaptive_limit import ConcurrencyLimiter

Call = tuple[float, bool, int, float, int]

LIMITS = st.builds(
    lambda minimum, more, tolerance, window: AdaptiveLimit(
        minimum=minimum, maximum=minimum + more, tolerance=tolerance, window=window
    ),
    st.integers(1, 40),
    st.integers(0, 200),
    st.floats(1.01, 5),
    st.floats(0.01, 10),
)
CALLS = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.booleans(),
        st.integers(1, 300),
        st.floats(0, 5),
        st.sampled_from([1, 9, 30, 150]),
    ),
    max_size=60,
)


def played(limit: AdaptiveLimit, calls: list[Call]) -> list[tuple[int, float | None]]:
    limiter, now, found = limit.limiter(), 100.0, []
    for duration, failed, in_flight, gap, times in calls:
        now += gap
        for _ in range(times):
            limiter.record(duration, failed=failed, in_flight=in_flight, now=now)
            found.append((limiter.limit, limiter.baseline))
    return found


@given(LIMITS, CALLS)
def test_the_limit_is_always_within_its_bounds(limit: AdaptiveLimit, calls: list[Call]) -> None:
    assert all(limit.minimum <= found <= limit.maximum for found, _ in played(limit, calls))


@given(LIMITS, CALLS)
def test_the_same_calls_give_the_same_limits(limit: AdaptiveLimit, calls: list[Call]) -> None:
    assert played(limit, calls) == played(limit, calls)


@given(LIMITS, CALLS)
def test_the_baseline_stays_within_the_successes_seen(limit: AdaptiveLimit, calls: list[Call]) -> None:
    seen = [duration for duration, failed, *_ in calls if not failed]
    for _, baseline in played(limit, calls):
        assert baseline is None or min(seen) - 1e-9 <= baseline <= max(seen) + 1e-9


@given(LIMITS, CALLS)
def test_failures_alone_never_raise_the_limit(limit: AdaptiveLimit, calls: list[Call]) -> None:
    limiter = limit.limiter()
    for number in range(200):
        limiter.record(0.1, failed=False, in_flight=200, now=number / 10)
    _drop_window(limiter)
    before = limiter.limit
    for number, (duration, _, in_flight, gap, times) in enumerate(calls):
        for _ in range(times):
            limiter.record(duration, failed=True, in_flight=in_flight, now=200.0 + number * gap)
            assert limiter.limit <= before
            before = limiter.limit


def _drop_window(limiter: ConcurrencyLimiter) -> None:
    """End the running window, so that the next has none of its successes."""
    for _ in range(10):
        limiter.record(0.1, failed=False, in_flight=1, now=150.0)


@given(LIMITS, CALLS)
def test_an_unused_limit_never_grows(limit: AdaptiveLimit, calls: list[Call]) -> None:
    unused = [(duration, failed, 1, gap, times) for duration, failed, _, gap, times in calls]
    start = limit.limiter().limit
    if start > 2:
        assert all(found <= start for found, _ in played(limit, unused) if found > 2)
