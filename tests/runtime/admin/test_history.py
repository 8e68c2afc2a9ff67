"""The history of breakers: counted by time, bounded, and joined from pieces."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, LastCalls, ShadowPolicy, SlowCallRate, open_panel
from actors.adapters.health import breaker_health
from runtime.admin.history import BUCKET_SECONDS, BUCKETS, FAILURES, TRANSITIONS, Recorder, merge_reports


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def call(breaker: CircuitBreaker, *, fails: bool = False) -> None:
    async def attempt() -> None:
        if fails:
            raise OSError("no")

    try:
        await breaker.execute(attempt)
    except OSError:
        pass


async def test_calls_are_counted_in_the_bucket_of_their_time() -> None:
    """Failures are kept with their error."""
    clock = Clock()
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="a"))
        recorder = Recorder("p", panel, clock)
        await recorder.sample()
        await call(breaker)
        await call(breaker, fails=True)
        clock.now = 1003
        await recorder.sample()
        clock.now = 1012
        await call(breaker)
        report = await recorder.recent()
    [seen] = report["breakers"]
    assert seen["calls_by_time"] == [[1000, 1, 1, 0, 0, 0], [1010, 1, 0, 0, 0, 0]]
    assert seen["failures"] == [{"time": 1003, "count": 1, "error": "OSError"}]


async def test_calls_before_the_first_sample_are_in_no_bucket() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="a"))
        await call(breaker)
        [seen] = (await Recorder("p", panel).recent())["breakers"]
    assert (seen["calls"]["success"], seen["calls_by_time"]) == (1, [])


async def test_slow_calls_are_reported_apart_from_failures() -> None:
    """With one number for both, a slow success would be shown as a failure."""
    trip = SlowCallRate(1.0, 0.001, LastCalls(10), 10)
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="a", trip=trip))
        await call(breaker, fails=True)
        await breaker.execute(trio.sleep, 0.002)
        await breaker.execute(trio.sleep, 0.002)
        [seen] = (await Recorder("p", panel).recent())["breakers"]
        health = breaker_health(await breaker.snapshot())["circuit_breaker"]
    for one in (seen, health):
        assert (one["failure_count"], one["slow_count"]) == (1, 2)


async def test_the_history_is_bounded() -> None:
    """In transitions, failures and hours."""
    clock = Clock()
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name="a"))
        recorder = Recorder("p", panel, clock)
        await nursery.start(recorder.run)
        for _ in range(TRANSITIONS + 20):
            await call(breaker, fails=True)
            clock.now += BUCKET_SECONDS
            await recorder.sample()
            await breaker.trip()
            await breaker.reset()
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        [seen] = (await recorder.recent())["breakers"]
        nursery.cancel_scope.cancel()
    sizes = [len(seen[part]) for part in ("transitions", "failures", "calls_by_time")]
    assert sizes == [TRANSITIONS, FAILURES, BUCKETS]


def report(now: float, since: float, *times: float, buckets: tuple[int, ...] = ()) -> dict[str, Any]:
    past = {
        "transitions": [{"time": one} for one in times],
        "failures": [],
        "calls_by_time": [[start, 1, 0, 0, 0, 0] for start in buckets],
    }
    return {"now": now, "since": since, "started": 0, "breakers": [{"name": "a", "state": "OPEN", **past}]}


@pytest.mark.parametrize(
    ("old", "new", "times", "starts"),
    [
        (None, report(20, 0, 5, 15), [5, 15], []),
        (report(20, 0, 5, 15), report(30, 19, 22), [5, 15, 22], []),
        # a transition in both reports is kept once
        (report(20, 0, 5, 19.5), report(30, 19, 19.5, 22), [5, 19.5, 22], []),
        (report(20, 0, buckets=(10, 15)), report(21, 19, buckets=(15, 20)), [], [10, 15, 20]),
        (report(20, 0, buckets=(10, 15)), report(21, 20, buckets=(20,)), [], [10, 15, 20]),
    ],
)
def test_a_new_report_replaces_what_it_covers_and_keeps_the_rest(
    old: Any, new: Any, times: list[float], starts: list[int]
) -> None:
    [seen] = merge_reports(old, new)["breakers"]
    assert [one["time"] for one in seen["transitions"]] == times
    assert [bucket[0] for bucket in seen["calls_by_time"]] == starts


async def test_a_report_has_the_shadow_of_a_breaker_that_has_one() -> None:
    """Its policy is part of the policy, with the keys of breakers.toml."""
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name="plain"))
        breaker = panel.breaker(CircuitBreakerConfig(name="a", shadow=ShadowPolicy(max_failures=2)))
        for _ in range(3):
            await call(breaker, fails=True)
        plain, shadowed = (await Recorder("p", panel).recent())["breakers"]
    assert "shadow" not in plain
    assert plain["policy"]["shadow"] is None
    assert shadowed["policy"]["shadow"] == {"max_failures": 2}
    assert (shadowed["shadow"]["state"], shadowed["shadow"]["opened"], shadowed["state"]) == (
        "OPEN",
        1,
        "CLOSED",
    )
    assert shadowed["shadow"]["calls"]["rejected"]["failure"] == 1
    assert shadowed["transitions"] == []
