"""The workers' reports in Valkey: sums never decrease, whatever happens to workers and store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import trio
import trio.testing

from actors.adapters.metrics import exposition
from actors.messages import Exemplar, HistogramSnapshot, State
from gateway.metrics.request_counts import RequestCounts
from gateway.workers.reports import WorkerReport, decode, encode
from tests.gateway.workers.cluster_workers import SERVICE, until, worker
from tests.gateway.workers.test_cluster import snapshot
from tests.valkey import ValkeyServer


def test_a_report_is_read_as_it_was_written() -> None:
    """Every field of a snapshot, histograms and exemplars included."""
    exemplars = {0: Exemplar(0.25, {"trace_id": "a1"}, 1_800_000_000.5)}
    one = snapshot(
        State.HALF_OPEN,
        3,
        retry_after=1.5,
        last_failure="OSError",
        last_reason="why",
        restarts=2,
        slow_count=4,
        unix_changed_at=7.5,
        recovery=HistogramSnapshot((1.0,), (2, 3), 4.0),
        durations=HistogramSnapshot((0.1, 1.0), (1, 0, 2), 3.5, exemplars),
    )
    requests = RequestCounts({("/auth", "GET", 502): 2}, {"/auth": (0, 2)}, {"/auth": 0.5}, {"X": 2})
    report = WorkerReport(4711, {SERVICE: one}, {"ports": 3}, requests)
    assert decode(encode(report)) == report


def test_a_field_of_a_later_version_is_left_out() -> None:
    """A successor may run newer code than its predecessor did."""
    report = WorkerReport(1, {SERVICE: snapshot(State.OPEN, 1)}, {})
    text = encode(report).replace('"name":', '"from_the_future": [], "name":')
    assert decode(text) == report


def test_a_report_of_an_earlier_version_has_no_requests() -> None:
    values = json.loads(encode(WorkerReport(1)))
    del values["requests"]
    assert decode(json.dumps(values)) == WorkerReport(1)


def ended_pid() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_worker_that_has_ended_does_not_run() -> None:
    assert not WorkerReport(ended_pid(), {}, {}).is_running()


async def test_each_call_is_counted_once_in_the_answer_of_every_worker(valkey: ValkeyServer) -> None:
    """Calls made since the last collection are counted too."""
    async with worker(valkey, 0) as one, worker(valkey, 1) as other, worker(valkey, 2) as third:
        workers = (one, other, third)
        for total in (6, 12, 18):
            for calls, each in enumerate(workers, 1):
                await each.succeed(calls)
            assert [await each.successes() for each in workers] == [total] * 3


async def test_a_successor_goes_on_from_its_predecessors_report(valkey: ValkeyServer) -> None:
    """Counts that were shown stay; so do totals that aren't a breaker's."""
    async with worker(valkey, 0) as one:
        for lives in range(1, 4):
            async with worker(valkey, 1) as other:
                await other.succeed(5)
                other.cluster.overloads.counts["ports"] += 1
                assert await one.successes() == 5 * lives
                assert one.cluster.overload_counts()["ports"] == lives
            assert await one.successes() == 5 * lives


async def test_requests_are_those_of_all_workers_ever_and_run_in_the_living(valkey: ValkeyServer) -> None:
    """Each worker ends with a request in flight, as a killed worker does."""
    async with worker(valkey, 0) as one:
        for lives in range(1, 4):
            async with worker(valkey, 1) as other:
                for each in (one, other):
                    each.cluster.request_metrics.begin("/auth", "GET").end(502, "SERVICE_UNAVAILABLE")
                other.cluster.request_metrics.begin("/auth", "GET")
                await one.cluster.snapshots()
                shown = one.cluster.request_counts()
                assert shown.requests == {("/auth", "GET", 502): 2 * lives}
                assert shown.errors == {"SERVICE_UNAVAILABLE": 2 * lives}
                assert sum(shown.buckets["/auth"]) == 2 * lives
                assert shown.in_flight == 1


async def test_another_gateway_counts_for_itself(valkey: ValkeyServer) -> None:
    """Also one that serves the same address after a restart."""
    async with worker(valkey, 0) as one, worker(valkey, 0, "gateway-22") as elsewhere:
        await one.succeed(5)
        assert (await one.successes(), await elsewhere.successes()) == (5, 0)


async def test_a_store_that_loses_its_data_loses_no_counts(valkey: ValkeyServer) -> None:
    """The counts of running workers stay, and so do those of a dead one."""
    async with worker(valkey, 0) as one, worker(valkey, 2) as third:
        async with worker(valkey, 1) as dead:
            await dead.succeed(7)
            await third.succeed(2)
            assert [await one.successes(), await third.successes()] == [9, 9]
        valkey.flush()
        assert await one.successes() == 9
        # The successor finds the report that a living worker has written again.
        async with worker(valkey, 1) as successor:
            await successor.succeed(1)
            assert [await each.successes() for each in (successor, one, third)] == [10, 10, 10]


async def gone(*workers) -> None:
    await until(lambda: not any(each.sharing.status().connected for each in workers))


@pytest.mark.parametrize("end", [ValkeyServer.kill, ValkeyServer.freeze])
async def test_while_the_store_is_gone_no_worker_shows_less_than_another_has(
    valkey: ValkeyServer, end
) -> None:
    """Until it is back, each worker shows its own state, and the last sum that any worker has shown."""
    async with worker(valkey, 0) as one, worker(valkey, 1) as other:
        await other.succeed(3)
        other.cluster.request_metrics.begin("/auth", "GET").end(200)
        assert await one.successes() == 3
        await one.succeed(4)
        assert await other.successes() == 7
        end(valkey)
        await other.succeed(100)
        other.cluster.request_metrics.begin("/auth", "GET").end(200)
        one.cluster.request_metrics.begin("/auth", "GET")
        await one.breaker.trip("here alone")
        began = trio.current_time()
        assert (await one.successes(), await other.successes()) == (7, 7)
        assert trio.current_time() - began < 2
        requests = [each.cluster.request_counts() for each in (one, other)]
        assert [(sum(counts.requests.values()), counts.in_flight) for counts in requests] == [(1, 1), (1, 0)]
        states = [(await each.cluster.snapshots())[SERVICE].state for each in (one, other)]
        assert states == [State.OPEN, State.CLOSED]
        await gone(one, other)
        valkey.restart()
        await until(lambda: one.sharing.status().connected and other.sharing.status().connected)

        async def all_counted() -> bool:
            return [await one.successes(), await other.successes()] == [107, 107]

        await until(all_counted)


async def test_a_worker_that_starts_without_the_store_shows_no_counts(valkey: ValkeyServer) -> None:
    """A sum of zero would look like a restart. It continues its slot's counts once the store is there."""
    async with worker(valkey, 0) as one:
        async with worker(valkey, 1) as first:
            await first.succeed(5)
            assert await one.successes() == 5
        valkey.freeze()
        async with worker(valkey, 1, connected=False) as late:
            await late.succeed(2)
            snapshots = await late.cluster.snapshots()
            assert not late.cluster.knows_counts()
            text = exposition(snapshots.values(), counters=late.cluster.knows_counts()).decode()
            assert "circuit_breaker_state{" in text
            assert "_total" not in text
            valkey.thaw()
            await until(lambda: late.sharing.status().connected)

            async def counted() -> bool:
                return await late.successes() == 7

            await until(counted)
            assert late.cluster.knows_counts()


async def test_a_worker_that_hangs_is_shown_as_it_was(valkey: ValkeyServer) -> None:
    """Other workers don't wait for it for long."""
    async with worker(valkey, 0) as one, worker(valkey, 1) as hung:
        await hung.succeed(2)
        await hung.breaker.trip("before")
        assert await one.successes() == 2
        async with hung.cluster._saving:
            began = trio.current_time()
            seen = (await one.cluster.snapshots())[SERVICE]
            assert trio.current_time() - began < 1.5
        assert (seen.state, seen.counts["success"]) == (State.OPEN, 2)


async def test_a_dead_workers_state_is_not_shown(valkey: ValkeyServer) -> None:
    """Its counts are shown."""
    async with worker(valkey, 0) as one:
        async with worker(valkey, 1) as dead:
            await dead.succeed(2)
            await dead.breaker.trip("last words")
            dead.cluster.request_metrics.begin("/auth", "GET")
            assert (await one.cluster.snapshots())[SERVICE].state is State.OPEN
        reports = await one.cluster._reports.read()
        text = encode(replace(reports[1], pid=ended_pid()))
        await one.sharing.connection.call(lambda client: client.hset(one.cluster._reports._key, {"1": text}))
        seen = (await one.cluster.snapshots())[SERVICE]
        assert (seen.state, seen.counts["success"]) == (State.CLOSED, 2)
        assert one.cluster.request_counts().in_flight == 0


async def test_a_caller_is_never_given_what_was_collected_before_it_asked(valkey: ValkeyServer) -> None:
    """Callers that come while a collection runs share the next one."""
    async with worker(valkey, 0) as one, worker(valkey, 1) as other:
        await other.succeed(1)
        seen: list[int] = []

        async def ask() -> None:
            seen.append(await one.successes())

        async with trio.open_nursery() as nursery:
            async with one.cluster._collecting:
                for _ in range(5):
                    nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                await other.succeed(1)
        assert seen == [2] * 5
        assert one.cluster._begun == 1


async def test_status_counts_what_all_workers_have_dropped(valkey: ValkeyServer) -> None:
    async with worker(valkey, 0) as one, worker(valkey, 1) as other:
        one.sharing.breakers._health.dropped = 2
        other.sharing.breakers._health.dropped = 3
        await one.cluster.snapshots()
        assert replace(one.cluster.status(), news_age=None) == replace(
            one.sharing.status(), news_age=None, dropped=5
        )
