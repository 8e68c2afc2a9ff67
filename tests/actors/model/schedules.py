"""Random policies and schedules, small enough to read when one fails."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from actors import (
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Outcome,
    SlowCallRate,
    Source,
    State,
    TripStrategy,
)

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "500"))
"""The number for both tests together: a few hundred by default, 10,000 in CI."""

# Multiples of 1/4: sums of them are exact, so that "exactly the deadline" is.
MOMENTS = (0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 16.0, 1000.0)
CALLS = ("begin", "end", "once")
OPERATORS = ("trip", "reset", "force_open", "disable", "observe", "configure")
HELD = {"force_open": State.FORCED_OPEN, "disable": State.DISABLED, "observe": State.OBSERVING}
"""The state in which each of these commands holds a breaker."""
ANSWERS = ("answer",) * 4
SOURCES = (
    None,
    Source(),
    Source("ann", "login"),
    Source("ann", "search"),
    Source("bob", "login"),
    Source("bob", "search"),
    Source("cid"),
    Source(None, "login"),
)
OUTCOMES = (
    *[Outcome.FAILURE] * 4,
    *[Outcome.SUCCESS] * 2,
    Outcome.IGNORED,
    Outcome.CANCELLED,
)


def examples(share: float) -> settings:
    """Settings for a test that takes this share of the examples."""
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        print_blob=True,
        phases=set(Phase) - {Phase.explain},
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Step:
    """One action of a caller or an operator, or an accident.

    what: begin a call; end the call that has run longest but `pick`; make a call that begins and ends
        at once; say that a running call is answered; or an operator's command, or a crash; or turn the result
        of the breaker's own probe.
    """

    what: str
    pick: int = 0
    outcome: Outcome = Outcome.SUCCESS
    server_wait: float | None = None

    @property
    def source(self) -> Source | None:
        """The source of a call that begins."""
        return SOURCES[self.pick]


@dataclass(frozen=True)
class Moment:
    """Time passes, then steps are taken; several are taken at once.

    look: read the breaker afterwards. It is a message like any other, so some moments go without.
    """

    after: float
    steps: tuple[Step, ...]
    look: bool = True


def _rates(window: LastCalls | LastSeconds, rate: float, minimum: int) -> list[TripStrategy]:
    if isinstance(window, LastCalls):
        minimum = min(minimum, window.n)
    return [FailureRate(rate, window, minimum), SlowCallRate(rate, 2.0, window, minimum)]


WINDOWS = st.sampled_from(
    [LastCalls(3), LastCalls(5), LastSeconds(5.0), LastSeconds(10.0), LastSeconds(20.0)]
)
COUNTS = st.sampled_from(
    [
        FailureCount(n, window)
        for n in (1, 2, 3)
        for window in (LastCalls(4), LastSeconds(5.0), LastSeconds(10.0))
    ]
)
RATES = st.builds(
    lambda window, rate, minimum, kind: _rates(window, rate, minimum)[kind],
    WINDOWS,
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    st.integers(1, 4),
    st.integers(0, 1),
)
ROWS = st.sampled_from([ConsecutiveFailures(n) for n in (1, 2, 3)])
STRATEGIES = st.one_of(ROWS, COUNTS, RATES, st.builds(AnyOf, ROWS, st.one_of(RATES, COUNTS)))


def asked_wait(error: Any) -> float | None:
    """The wait that the server asked for; None if the call's exception has none."""
    wait: float | None = getattr(error, "server_wait", None)
    return wait


class Probe:
    """The breaker's own probe: it ends at once, and passes or fails."""

    passes = False

    async def __call__(self) -> None:
        if not self.passes:
            raise ConnectionError

    def __repr__(self) -> str:
        return "PROBE"


PROBE = Probe()


@st.composite
def policies(draw: st.DrawFn, *, calls: bool) -> CircuitBreakerConfig:
    """A random policy. calls: include the fields that need running calls."""
    trip = draw(STRATEGIES)
    probe = draw(st.sampled_from([None, None, None, PROBE])) if calls else None
    call_timeout = draw(st.sampled_from([None, None, 3.0])) if calls else None
    return CircuitBreakerConfig(
        name="it",
        trip=trip,
        reset_timeout=draw(st.sampled_from([1.0, 4.0])),
        half_open_max_calls=draw(st.integers(1, 3)),
        successes_to_close=draw(st.integers(1, 3)),
        half_open_timeout=draw(st.sampled_from([None, 2.0 if call_timeout is None else 3.0, 5.0])),
        half_open_failure_rate=draw(st.sampled_from([None, None, 0.5, 1.0])),
        ramp=draw(st.sampled_from([None, None, 4.0])),
        backoff=Backoff(
            factor=draw(st.sampled_from([1.0, 2.0])), maximum=draw(st.sampled_from([None, 10.0]))
        ),
        in_flight_slow=trip.slow_threshold is not None and draw(st.booleans()),
        call_timeout=call_timeout,
        retry_after=asked_wait,
        probe=probe,
        probe_interval=None if probe is None else draw(st.sampled_from([None, 0.5, 2.0, 3.0])),
    )


def another(config: CircuitBreakerConfig, pick: int) -> CircuitBreakerConfig:
    """A policy to configure next, which counts the same calls as `config`."""
    trip = config.strategy
    if isinstance(trip, ConsecutiveFailures):
        trip = ConsecutiveFailures(1 + pick % 4)
    elif isinstance(trip, FailureRate | SlowCallRate):
        trip = replace(trip, rate=(0.25, 0.5, 0.75, 1.0)[pick % 4])
    return replace(
        config,
        trip=trip,
        reset_timeout=1.0 + pick,
        half_open_max_calls=1 + pick % 3,
        successes_to_close=1 + pick % 2,
        ramp=None if pick % 2 else 2.0,
        half_open_timeout=(None, 2.0 if config.call_timeout is None else 4.0, 3.0)[pick % 3],
        half_open_failure_rate=(None, 0.5, 0.75)[(pick + 1) % 3],
        probe_interval=None if config.probe is None else (None, 1.0, 2.0)[pick % 3],
    )


# Drawn together, simplest first: drawing one by one takes longer than playing the schedule.
DETAILS = tuple(product(range(8), OUTCOMES, (None, None, None, 2.0, 50.0, 5000.0, 1e9, -1.0)))
WHENS = tuple(product(MOMENTS, (True, False)))


def steps(*kinds: str) -> st.SearchStrategy[Step]:
    """Mostly calls, and now and then something else."""
    drawn = st.tuples(st.sampled_from([*CALLS * 6, *kinds]), st.sampled_from(DETAILS))
    return drawn.map(lambda it: Step(it[0], *it[1]))


def _one_crash(taken: list[Step]) -> tuple[Step, ...]:
    """Drop all crashes but the first: a broken machine can't be broken again."""
    crashes = [step for step in taken if step.what == "crash"]
    return (*crashes[:1], *(step for step in taken if step.what != "crash"))


def schedules(*kinds: str, at_once: int = 1) -> st.SearchStrategy[list[Moment]]:
    """Moments with up to `at_once` steps."""
    one = steps(*kinds)
    several = st.lists(one, min_size=1, max_size=at_once).map(_one_crash) if at_once > 1 else st.tuples(one)
    drawn = st.tuples(st.sampled_from(WHENS), several)
    moments = drawn.map(lambda it: Moment(after=it[0][0], steps=it[1], look=it[0][1]))
    return st.lists(moments, min_size=12, max_size=40)
