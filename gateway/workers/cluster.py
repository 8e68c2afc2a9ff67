"""All workers of one gateway, seen through any one of them.

Only what is in the store is shown. So when a worker dies, the counts that were shown remain, and its
successor in the same slot continues from them: no sum ever decreases.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from operator import attrgetter
from typing import Any

import trio

from actors import CircuitBreaker, Panel, PanelClosedError
from actors.adapters.health import PLAIN
from actors.events import EventBroadcaster, Subscription
from actors.messages import Snapshot, State, Transition
from actors.sharing.shared_breakers import SharingStatus
from actors.sharing.store import StoreUnavailable
from gateway.metrics.request_counts import RequestCounts
from gateway.metrics.request_metrics import RequestMetrics
from gateway.upstream.overloads import RESOURCES, Overloads
from gateway.workers.context import WorkerContext
from gateway.workers.merge import merge_snapshots
from gateway.workers.reports import ReportStore, WorkerReport, encode
from runtime.sharing.process import ProcessSharing

DROPPED = "dropped"
"""The total of SharingStatus.dropped; the other totals are those of Overloads."""
NOTHING = WorkerReport(0)


class WorkerCluster:
    """The breakers of all workers, in the place of one panel's (see BreakerSource).

    The other workers see this one's breakers while `run` runs. While the store is gone, states are those of
    this worker alone, and counts stay at the last sums that any worker has shown.

    overloads, request_metrics: this worker's, to be replaced by those that its app counts in.
    """

    def __init__(self, panel: Panel, context: WorkerContext, sharing: ProcessSharing) -> None:
        self._panel = panel
        self._sharing = sharing
        self._slot = context.slot
        self._wanted = trio.Event()
        self._reports = ReportStore(sharing.connection, context.gateway, context.slot, self._note_wanted)
        self._inherited: WorkerReport | None = None
        """The counts of this slot's earlier workers; None until the store has been read."""
        self._saving = trio.Lock()
        self._collecting = trio.Lock()
        self._begun = 0
        self._collected: tuple[int, WorkerReport] | None = None
        """The number of the last collection that has ended, and its result."""
        self._floor: WorkerReport | None = None
        """What this worker has shown last."""
        self._shown: dict[str, State] = {}
        self._broadcaster = EventBroadcaster()
        self.overloads = Overloads()
        self.request_metrics = RequestMetrics()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report when other workers ask for it, until the panel closes. May be cancelled at any point."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._forward_observed)
            task_status.started()
            try:
                while True:
                    await self._wanted.wait()
                    self._wanted = trio.Event()
                    await self.save()
            except PanelClosedError:
                nursery.cancel_scope.cancel()

    def _note_wanted(self) -> None:
        self._wanted.set()

    async def save(self) -> WorkerReport | None:
        """Write this worker's report and return it; None if the store is gone. Raises PanelClosedError."""
        async with self._saving:
            try:
                if self._inherited is None:
                    # A worker writes no report before it has read its predecessor's.
                    self._inherited = (await self._reports.read()).get(self._slot, NOTHING)
                report = (await self._own()).plus(self._inherited)
                await self._reports.write(encode(report))
            except StoreUnavailable:
                return None
        return report

    async def _own(self) -> WorkerReport:
        totals = {**self.overloads.counts, DROPPED: self._sharing.status().dropped}
        snapshots = await self._panel.snapshots()
        return WorkerReport(os.getpid(), snapshots, totals, self.request_metrics.snapshot())

    async def snapshots(self) -> dict[str, Snapshot]:
        """A snapshot of each breaker: the worst of the running workers', with the counts of all workers ever.

        Concurrent callers share a collection that began after their calls. Raises PanelClosedError.
        """
        begun = self._begun
        async with self._collecting:
            if self._collected is None or self._collected[0] <= begun:
                self._begun += 1
                number = self._begun
                merged, running = await self._collect()
                self._collected = number, merged
                for name, one in merged.snapshots.items():
                    self._emit_change(one, [snapshot for snapshot in running if snapshot.name == name])
            return dict(self._collected[1].snapshots)

    def knows_counts(self) -> bool:
        """Whether counts may be shown; as of the last `snapshots`.

        Not if this worker began while the store was gone: less than other workers have shown would look like
        a restart.
        """
        return self._floor is not None

    def overload_counts(self) -> dict[str, int]:
        """The overloads of all workers ever, as of the last `snapshots`."""
        totals = {} if self._floor is None else self._floor.totals
        return {name: totals.get(name, 0) for name in RESOURCES}

    def request_counts(self) -> RequestCounts:
        """The requests of all workers ever, as of the last `snapshots`."""
        return RequestCounts() if self._floor is None else self._floor.requests

    def status(self) -> SharingStatus:
        """How well this worker's breakers are shared; `dropped`: of all workers, at the last `snapshots`."""
        totals = {} if self._floor is None else self._floor.totals
        return replace(self._sharing.status(), dropped=totals.get(DROPPED, 0))

    async def other_instances(self) -> list[dict[str, Any]]:
        """See Instances.others: this gateway's other workers aren't among them."""
        return await self._sharing.other_instances()

    async def _collect(self) -> tuple[WorkerReport, list[Snapshot]]:
        """What is shown, and the snapshots of the running workers."""
        if (own := await self.save()) is not None:
            try:
                reports = {**await self._reports.collect(), self._slot: own}
                running = [own, *(one for one in reports.values() if one is not own and one.is_running())]
                merged = _at_least(_merged(running, list(reports.values())), [self._floor])
                # First the others hear of it: none of them may show less if the store goes now.
                await self._reports.publish_shown(encode(merged))
            except StoreUnavailable:
                pass
            else:
                self._floor = merged
                return merged, [one for report in running for one in report.snapshots.values()]
        return await self._alone()

    async def _alone(self) -> tuple[WorkerReport, list[Snapshot]]:
        """What is shown while the store is gone."""
        own = await self._own()
        floors = [one for one in (self._floor, *self._reports.all_shown()) if one is not None]
        shown = _at_least(own.without_counts(), floors)
        if floors:
            self._floor = shown
        return shown, list(own.snapshots.values())

    def _emit_change(self, merged: Snapshot, running: Sequence[Snapshot]) -> None:
        """Emit a transition if the state that is shown has changed."""
        before = self._shown.setdefault(merged.name, State.CLOSED)
        if merged.state is before:
            return
        self._shown[merged.name] = merged.state
        # Open since the first worker's breaker opened, closed since the last one's closed.
        pick = min if PLAIN[merged.state] is State.OPEN else max
        source = pick(
            (one for one in running if one.state is merged.state), key=attrgetter("unix_changed_at")
        )
        self._broadcaster.emit(
            Transition(
                name=merged.name,
                old=before,
                new=merged.state,
                reason=source.last_reason or "",
                generation=source.generation,
                time=trio.current_time(),
                unix_time=source.unix_changed_at,
                retry_after=source.retry_after,
            )
        )

    async def _forward_observed(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Emit the observed transitions of this worker's breakers: they change no state that is shown."""
        async with self._panel.events() as events:
            task_status.started()
            async for event in events:
                if isinstance(event, Transition) and event.observed:
                    self._broadcaster.emit(event)

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """The transitions of the states that `snapshots` shows; they are noticed when it is called."""
        with self._broadcaster.subscribe(buffer) as subscription:
            yield subscription

    def __getitem__(self, name: str) -> CircuitBreaker:
        """This worker's breaker."""
        return self._panel[name]


def _merged(running: Sequence[WorkerReport], ever: Sequence[WorkerReport]) -> WorkerReport:
    """The worst snapshots of `running` with the counts of `ever`, by breaker."""
    snapshots = {
        name: merge_snapshots(
            [one.snapshots[name] for one in running if name in one.snapshots],
            [one.snapshots[name] for one in ever if name in one.snapshots],
        )
        for name in running[0].snapshots
    }
    names = {name for one in ever for name in one.totals}
    totals = {name: sum(one.totals.get(name, 0) for one in ever) for name in names}
    pids = {one.pid for one in running}
    requests = RequestCounts()
    for one in ever:
        requests = requests.merge(one.requests if one.pid in pids else one.requests.of_the_past())
    return WorkerReport(running[0].pid, snapshots, totals, requests)


def _at_least(report: WorkerReport, floors: Iterable[WorkerReport | None]) -> WorkerReport:
    for floor in filter(None, floors):
        report = report.at_least(floor)
    return report
