"""Several workers as one gateway: which breaker is shown, and the transitions that are emitted."""

from __future__ import annotations

import trio

from actors.messages import HistogramSnapshot, Snapshot, State
from gateway.workers.merge import merge_snapshots
from tests.gateway.workers.cluster_workers import SERVICE, worker
from tests.valkey import ValkeyServer


async def test_changes_are_those_of_all(valkey: ValkeyServer) -> None:
    """A breaker is open from the first worker's opening until the last worker's closing."""
    async with (
        worker(valkey, 0) as own,
        worker(valkey, 1) as other,
        own.cluster.events() as events,
    ):
        for change in (
            other.breaker.trip("it fails there"),
            own.breaker.trip("and here"),
            own.breaker.reset("it is well"),
            other.breaker.reset("all is well"),
        ):
            await change
            await own.cluster.snapshots()
        emitted = [await anext(events) for _ in range(2)]
        snapshot = await other.breaker.snapshot()
        assert [(one.old, one.new, one.reason) for one in emitted] == [
            (State.CLOSED, State.OPEN, "it fails there"),
            (State.OPEN, State.CLOSED, snapshot.last_reason),
        ]
        assert emitted[1].unix_time == snapshot.unix_changed_at
        with trio.move_on_after(0.05):
            raise AssertionError(await anext(events))


async def test_an_opening_is_that_of_the_first_worker(valkey: ValkeyServer) -> None:
    """Also if more workers' breakers have opened before the next `snapshots`."""
    async with (
        worker(valkey, 0) as own,
        worker(valkey, 1) as other,
        own.cluster.events() as events,
    ):
        await other.breaker.trip("the first")
        await own.breaker.trip("the second")
        await own.cluster.snapshots()
        emitted = await anext(events)
        snapshot = await other.breaker.snapshot()
        assert (emitted.reason, emitted.unix_time) == ("the first", snapshot.unix_changed_at)


async def test_observed_transitions_are_emitted(valkey: ValkeyServer) -> None:
    """They change no state."""

    async def fail() -> None:
        raise OSError

    async with worker(valkey, 0) as own, own.cluster.events() as events:
        await own.breaker.observe("to see")
        try:
            await own.breaker.execute(fail)
        except OSError:
            pass
        await own.cluster.snapshots()
        emitted = {(one.new, one.observed) for one in [await anext(events), await anext(events)]}
        assert emitted == {(State.OBSERVING, False), (State.OPEN, True)}


def snapshot(state: State, failures: int, **more: object) -> Snapshot:
    """A breaker of one worker."""
    values = {
        "name": SERVICE,
        "state": state,
        "generation": 1,
        "failure_count": failures,
        "opened_at": None,
        "retry_after": None,
        "last_failure": None,
        "last_reason": None,
        "in_flight": 1,
        "counts": {"success": 10, "failure": failures},
        "rejections": {"open": 1},
        "late": 1,
        "would_reject": 0,
        "transitions": {(State.CLOSED, State.OPEN): 1},
        "changed_at": 0.0,
        **more,
    }
    return Snapshot(**values)


def test_the_places_of_all_are_those_of_the_running() -> None:
    """A dead worker has no places. If one worker has no limit, there is none for all together."""
    five, seven, free = (snapshot(State.CLOSED, 0, bulkhead_limit=limit) for limit in (5, 7, None))
    assert merge_snapshots([five, seven], [five, seven, five]).bulkhead_limit == 12
    assert merge_snapshots([five, free], [five, free]).bulkhead_limit is None


def test_the_worst_speaks_with_the_counts_of_all() -> None:
    """The result has the open breaker's state and times, all counts, and the living's calls in flight."""
    histogram = HistogramSnapshot((1.0,), (2, 3), 4.0)
    closed, opened, dead = (
        snapshot(State.CLOSED, 4, unix_changed_at=1.0, durations=histogram),
        snapshot(State.OPEN, 0, unix_changed_at=7.0, retry_after=3.0, durations=histogram),
        snapshot(State.FORCED_OPEN, 9, unix_changed_at=9.0, durations=histogram),
    )
    seen = merge_snapshots([closed, opened], [closed, opened, dead])
    assert (seen.state, seen.retry_after, seen.unix_changed_at) == (State.OPEN, 3.0, 7.0)
    assert seen.failure_count == 0
    assert seen.counts == {"success": 30, "failure": 13}
    assert (seen.rejections, seen.late, seen.in_flight) == ({"open": 3}, 3, 2)
    assert seen.transitions == {(State.CLOSED, State.OPEN): 3}
    assert seen.durations == HistogramSnapshot((1.0,), (6, 9), 12.0)
