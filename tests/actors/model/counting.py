"""Which calls a trip strategy counts, found by looking at all of them."""

from __future__ import annotations

from typing import NamedTuple

from actors import (
    AnyOf,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    SlowCallRate,
    TripStrategy,
)

SLICES = 10


class CountedCall(NamedTuple):
    """One counted call. running: the call had not ended, and was counted for being slow already."""

    time: float
    failed: bool
    duration: float
    slow_from: float | None = None
    running: bool = False


def window(strategy: TripStrategy, heard: list[CountedCall], row: int, now: float) -> tuple[int, int]:
    """How many calls a strategy looks at now, and how many of them are bad."""
    if isinstance(strategy, ConsecutiveFailures):
        return 0, _trailing(heard, row)
    if isinstance(strategy, SlowCallRate):
        marks = [(event.time, slow) for event in heard if (slow := _slow(event, strategy)) is not None]
    else:
        marks = [(event.time, event.failed) for event in heard if not event.running]
    return _marked(strategy, marks, now)


def _marked(strategy: TripStrategy, marks: list[tuple[float, bool]], now: float) -> tuple[int, int]:
    assert isinstance(strategy, FailureCount | FailureRate | SlowCallRate)
    if isinstance(strategy.window, LastCalls):
        marks = marks[-strategy.window.n :]
    elif isinstance(strategy, FailureCount):
        marks = [(time, bad) for time, bad in marks if now - time < strategy.window.s]
    else:
        marks = [(time, bad) for time, bad in marks if _within(strategy.window, time, now)]
    return len(marks), sum(bad for _, bad in marks)


def _trailing(heard: list[CountedCall], row: int) -> int:
    """Failures since the last success. Without a success, the `row` earlier failures are added."""
    ended = [event.failed for event in heard if not event.running]
    if False not in ended:
        return row + len(ended)
    return ended[::-1].index(False)


def _slow(event: CountedCall, strategy: SlowCallRate) -> bool | None:
    if event.running:
        return True if event.duration >= strategy.threshold else None
    if event.slow_from is not None and event.slow_from >= strategy.threshold:
        return None
    return event.duration >= strategy.threshold


def _within(window: LastSeconds, time: float, now: float) -> bool:
    width = window.s / SLICES
    return now // width - time // width < SLICES


def trips(strategy: TripStrategy, heard: list[CountedCall], row: int, now: float) -> bool:
    """Whether the calls counted so far open the breaker."""
    if isinstance(strategy, AnyOf):
        return any(trips(each, heard, row, now) for each in strategy.strategies)
    calls, bad = window(strategy, heard, row, now)
    if isinstance(strategy, ConsecutiveFailures | FailureCount):
        return bad >= strategy.n
    assert isinstance(strategy, FailureRate | SlowCallRate)
    return calls >= strategy.minimum_calls and bad / calls >= strategy.rate


def failures(strategy: TripStrategy, heard: list[CountedCall], row: int, now: float) -> int:
    """The failures that count now."""
    if isinstance(strategy, AnyOf):
        return max(failures(each, heard, row, now) for each in strategy.strategies)
    if isinstance(strategy, SlowCallRate):
        return _marked(strategy, [(event.time, event.failed) for event in heard if not event.running], now)[1]
    return window(strategy, heard, row, now)[1]


def slow_calls(strategy: TripStrategy, heard: list[CountedCall], now: float) -> int:
    """The slow calls that count now."""
    if isinstance(strategy, AnyOf):
        return max(slow_calls(each, heard, now) for each in strategy.strategies)
    return window(strategy, heard, 0, now)[1] if isinstance(strategy, SlowCallRate) else 0
