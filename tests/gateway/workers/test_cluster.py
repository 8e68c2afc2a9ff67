"""Several workers as one cluster: which breaker is shown, and the transitions that are emitted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actors import CircuitBreaker, CircuitBreakerConfig, open_panel
from actors.messages import HistogramSnapshot, Snapshot, State
from gateway.workers.cluster import WorkerCluster
from gateway.workers.merge import merge_snapshots
from gateway.workers.slot import WorkerSlot

SERVICE = "auth-service-http"


@asynccontextmanager
async def worker(folder: Path, number: int) -> AsyncIterator[tuple[WorkerCluster, CircuitBreaker]]:
    """A worker's view of the cluster, and its own breaker."""
    with trio.fail_after(10):
        async with open_panel() as panel, trio.open_nursery() as nursery:
            breaker = panel.breaker(CircuitBreakerConfig(name=SERVICE, max_failures=1))
            cluster = WorkerCluster(panel, WorkerSlot(number, folder), None)
            (folder / "breakers.toml").write_text(f"[breakers.{SERVICE}]\nmax_failures = 1\n")
            await nursery.start(cluster.run)
            yield cluster, breaker
            nursery.cancel_scope.cancel()


async def test_changes_are_those_of_all(tmp_path: Path) -> None:
    """A breaker is open from when one worker's opens until the last one's has closed."""
    async with (
        worker(tmp_path, 0) as (cluster, own),
        worker(tmp_path, 1) as (_, other),
        cluster.events() as events,
    ):
        for change in (
            other.trip("it fails there"),
            own.trip("and here"),
            own.reset("it is well"),
            other.reset("all is well"),
        ):
            await change
            await cluster.snapshots()
        emitted = [await anext(events) for _ in range(2)]
        snapshot = await other.snapshot()
        assert [(one.old, one.new, one.reason) for one in emitted] == [
            (State.CLOSED, State.OPEN, "it fails there"),
            (State.OPEN, State.CLOSED, snapshot.last_reason),
        ]
        assert emitted[1].unix_time == snapshot.unix_changed_at
        with trio.move_on_after(0.05):
            raise AssertionError(await anext(events))


async def test_an_opening_is_that_of_the_first_worker(tmp_path: Path) -> None:
    """Also if more workers' breakers have opened before the next `snapshots`."""
    async with (
        worker(tmp_path, 0) as (cluster, own),
        worker(tmp_path, 1) as (_, other),
        cluster.events() as events,
    ):
        await other.trip("the first")
        await own.trip("the second")
        await cluster.snapshots()
        emitted = await anext(events)
        assert (emitted.reason, emitted.unix_time) == ("the first", (await other.snapshot()).unix_changed_at)


async def test_observed_transitions_are_emitted(tmp_path: Path) -> None:
    """They change no state."""

    async def fail() -> None:
        raise OSError

    async with worker(tmp_path, 0) as (cluster, own), cluster.events() as events:
        await own.observe("to see")
        try:
            await own.execute(fail)
        except OSError:
            pass
        await cluster.snapshots()
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
    """A dead worker has none; if one worker has no limit, nor have all together."""
    five, seven, free = (snapshot(State.CLOSED, 0, bulkhead_limit=limit) for limit in (5, 7, None))
    assert merge_snapshots([five, seven], [five, seven, five]).bulkhead_limit == 12
    assert merge_snapshots([five, free], [five, free]).bulkhead_limit is None


def test_the_worst_speaks_with_the_counts_of_all() -> None:
    """One open breaker among closed ones: its state, whole; all counts; calls in flight of the living."""
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
