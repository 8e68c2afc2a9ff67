"""The dashboard's data: one task collects the reports of all processes, and all open pages receive them.

No process is polled while no page is open. A page that doesn't read fast enough is disconnected; its browser
connects again by itself.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import trio
from pydantic import BaseModel, Field, ValidationError

from actors import PanelClosedError
from gateway.dashboard.uptime import ProcessUptime
from gateway.upstream.fetch import fetch_json, for_each_service
from gateway.upstream.upstream import Upstream
from runtime.admin.history import Recorder, Report, merge_reports

TICK_SECONDS = 1.0
"""Seconds between two collections."""
FETCH_SECONDS = 0.9
"""Seconds that a service has to report."""
SHORTEST_TICK = 0.1
"""The least seconds between two collections, however often breakers change."""
OVERLAP_SECONDS = 3.0
"""Seconds by which consecutive reports overlap: a process may notice its other workers' events late."""
BACKLOG = 32
"""The most messages that may wait for one page."""


class _Dated(BaseModel):
    time: float


class _Order(BaseModel):
    id: str
    action: str
    time: float


class _Breaker(BaseModel):
    name: str
    state: str
    transitions: list[_Dated]
    failures: list[_Dated]
    calls_by_time: list[Annotated[list[int], Field(min_length=6, max_length=6)]]


class _ReportShape(BaseModel):
    now: float
    since: float
    started: float
    breakers: list[_Breaker]
    orders: list[_Order] = []


def parse_report(document: Any) -> Report | None:
    """The report in a service's document; None if there is no valid one."""
    report: Any = document.get("data") if isinstance(document, dict) else None
    try:
        _ReportShape.model_validate(report, strict=True)
    except (ValidationError, RecursionError):
        return None
    return {**report}


class Subscriber:
    """One open page. scope: surrounds its response; cancelled when its backlog is full.

    messages: the server-sent events for it. received: the processes whose whole report it has been sent.
    """

    def __init__(self) -> None:
        self._send, self.messages = trio.open_memory_channel[bytes](BACKLOG)
        self.scope = trio.CancelScope()
        self.received: set[str] = set()

    def send(self, message: bytes) -> None:
        """Queue a message. Never waits."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self.scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the page has been closed, or the process is about to stop

    def end(self) -> None:
        """Queue no more messages; those in the queue are still sent."""
        self._send.close()


class DashboardFeed:
    """The present state of every breaker, for any number of open pages. Nothing is collected before `run`."""

    def __init__(self, recorder: Recorder, upstreams: Mapping[str, Upstream]) -> None:
        self._recorder = recorder
        self._upstreams = upstreams
        self._reports: dict[str, Report] = {}
        self._uptimes: defaultdict[str, ProcessUptime] = defaultdict(ProcessUptime)
        self._published: dict[str, dict[str, str]] = {}
        """By process, the JSON of each breaker as it was last published."""
        self._published_orders: dict[str, list[Report]] = {}
        self._subscribers: set[Subscriber] = set()
        self._subscribed = trio.Event()
        self._ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Record, and feed the open pages, until the panel closes. May be cancelled at any point."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._recorder.run)
            task_status.started()
            nursery.start_soon(self._feed, nursery.cancel_scope)

    def end(self) -> None:
        """End every stream and refuse new ones: the process is about to stop."""
        self._ended = True
        for subscriber in self._subscribers:
            subscriber.end()

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called: no page may subscribe any more."""
        return self._ended

    @contextmanager
    def subscribe(self) -> Iterator[Subscriber]:
        """A subscriber until the block ends. It is sent every whole report soon, and then the changes."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        subscriber.send(_event("hello", self._topology()))
        self._subscribed.set()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            subscriber.messages.close()

    def _topology(self) -> dict[str, Any]:
        """The processes, and the breakers that each owns."""
        services = [upstream.service for upstream in self._upstreams.values()]
        return {
            "gateway": self._recorder.process,
            "services": [
                {"process": one.process, "breaker": one.breaker, "dependencies": one.dependencies}
                for one in services
            ],
        }

    async def _feed(self, whole: trio.CancelScope) -> None:
        try:
            while True:
                if not self._subscribers:
                    self._subscribed = trio.Event()
                    await self._subscribed.wait()
                began = trio.current_time()
                self._subscribed = trio.Event()
                has_changed = self._recorder.has_changed
                await self.refresh()
                await self._pause(began, has_changed)
        except PanelClosedError:
            whole.cancel()

    async def _pause(self, began: float, has_changed: trio.Event) -> None:
        """Wait for the next tick, a breaker's change or a new page; SHORTEST_TICK at least."""
        await trio.sleep_until(began + SHORTEST_TICK)

        async def until(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        with trio.move_on_at(began + TICK_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until, has_changed)
                nursery.start_soon(until, self._subscribed)

    async def refresh(self) -> None:
        """Collect the reports of all processes concurrently, and publish each as soon as it is there.

        Raises PanelClosedError, in a group.
        """
        self._broadcast(_event("tick", {"now": time.time()}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(for_each_service, self._upstreams.values(), self._fetch)
            process = self._recorder.process
            self._publish(process, await self._recorder.recent(self._since(process)))

    async def _fetch(self, upstream: Upstream) -> None:
        process = upstream.service.process
        path = f"/breakers?since={self._since(process):.3f}"
        reply = await fetch_json(upstream, path, timeout=FETCH_SECONDS)
        self._publish(process, parse_report(reply.document))

    def _since(self, process: str) -> float:
        """The time from which a process has to report its events."""
        known = self._reports.get(process)
        return 0.0 if known is None else max(0.0, known["now"] - OVERLAP_SECONDS)

    def _publish(self, process: str, report: Report | None) -> None:
        """Merge a process's report, and send the changes to the pages. None: the process doesn't answer."""
        if report is None:
            self._uptimes[process].record_silence(time.time())
        else:
            # After a restart the process can't report what happened before; the earlier reports are kept.
            report["since"] = max(report["since"], report["started"])
            self._uptimes[process].record_report(report["started"], report["now"])
            self._reports[process] = merge_reports(self._reports.get(process), report)
        whole: bytes | None = None
        changed = {
            **self._message(process, report, self._changed_breakers(process, report)),
            **self._changed_orders(process),
        }
        changes = _event("report", changed)
        for subscriber in list(self._subscribers):
            if process in subscriber.received:
                subscriber.send(changes)
                continue
            subscriber.received.add(process)
            whole = whole or self._whole_report(process, answers=report is not None)
            subscriber.send(whole)

    def _whole_report(self, process: str, *, answers: bool) -> bytes:
        known = self._reports.get(process)
        message = self._message(process, known, known["breakers"] if known else [])
        orders = known.get("orders", []) if known else []
        return _event("report", {**message, "answers": answers, "since": 0, "orders": orders})

    def _message(self, process: str, report: Report | None, breakers: list[Report]) -> dict[str, Any]:
        uptime = self._uptimes[process]
        # A process that shares nothing reports no other instances.
        kept = ("since", "started", "instances")
        times = {key: report[key] for key in kept if key in report} if report else {}
        gaps = {"starts": uptime.starts, "gaps": uptime.gaps}
        return {"process": process, "answers": report is not None, **times, **gaps, "breakers": breakers}

    def _changed_breakers(self, process: str, report: Report | None) -> list[Report]:
        """The breakers of a report that differ from those published last."""
        if report is None:
            return []
        before = self._published.get(process, {})
        now = self._published[process] = {one["name"]: json.dumps(one) for one in report["breakers"]}
        return [one for one in report["breakers"] if before.get(one["name"]) != now[one["name"]]]

    def _changed_orders(self, process: str) -> dict[str, list[Report]]:
        """All orders of a process if they differ from those published last."""
        known = self._reports.get(process)
        orders = known.get("orders", []) if known else []
        if orders == self._published_orders.get(process, []):
            return {}
        self._published_orders[process] = orders
        return {"orders": orders}

    def _broadcast(self, message: bytes) -> None:
        for subscriber in list(self._subscribers):
            subscriber.send(message)


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
