"""What the dashboard shows: one task asks everybody once a second, and all viewers get what it found.

Nobody is asked while nobody looks. A viewer that doesn't keep up is dropped; it comes back by itself.
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
from gateway.upstream.fetch import fetch_json
from gateway.upstream.upstream import Upstream
from runtime.admin.history import Recorder, Report, merge_reports

TICK_SECONDS = 1.0
ASK_SECONDS = 0.9
SHORTEST_TICK = 0.1
"""Seconds between two looks, however often breakers change."""
OVERLAP_SECONDS = 3.0
"""How late a process may learn of what has happened: of another worker's breaker when it next looks."""
VIEWERS = 100
"""More than that are told to come back later."""
BEHIND = 32
"""Messages that may wait for one viewer."""


class _Dated(BaseModel):
    time: float


class _Breaker(BaseModel):
    name: str
    state: str
    transitions: list[_Dated]
    failures: list[_Dated]
    calls_by_time: list[Annotated[list[int], Field(min_length=6, max_length=6)]]


class _Report(BaseModel):
    now: float
    since: float
    started: float
    breakers: list[_Breaker]


def readable(answer: Any) -> Report | None:
    """The report in a service's answer; None where there is none, or none that can be used."""
    report: Any = answer.get("data") if isinstance(answer, dict) else None
    try:
        _Report.model_validate(report, strict=True)
    except (ValidationError, RecursionError):
        return None
    return {**report}


class Subscriber:
    """One open page. scope: around whatever is done for it; cancelled when it falls behind."""

    def __init__(self) -> None:
        self._send, self.messages = trio.open_memory_channel[bytes](BEHIND)
        self.scope = trio.CancelScope()
        self.knows: set[str] = set()
        """The processes of which it has had the whole report."""

    def give(self, message: bytes) -> None:
        """Never waits."""
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self.scope.cancel()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left, or is about to

    def end(self) -> None:
        """No more will come; what waits is still sent."""
        self._send.close()


class DashboardFeed:
    """The present state of every breaker, for any number of viewers. Nothing happens before `run`."""

    def __init__(self, recorder: Recorder, upstreams: Mapping[str, Upstream]) -> None:
        self._recorder = recorder
        self._upstreams = upstreams
        self._known: dict[str, Report] = {}
        self._presence: defaultdict[str, ProcessUptime] = defaultdict(ProcessUptime)
        self._shown: dict[str, dict[str, str]] = {}
        self._viewers: set[Subscriber] = set()
        self._joined = trio.Event()
        self._ended = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Record, and feed the viewers, until the panel closes. Cancelling is safe at any point."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._recorder.run)
            task_status.started()
            nursery.start_soon(self._feed, nursery.cancel_scope)

    def end(self) -> None:
        """End every stream, and let no new one begin: the process is about to stop."""
        self._ended = True
        for viewer in self._viewers:
            viewer.end()

    @property
    def has_room(self) -> bool:
        """Whether one more may look."""
        return not self._ended and len(self._viewers) < VIEWERS

    @contextmanager
    def viewer(self) -> Iterator[Subscriber]:
        """A viewer for as long as the block lasts; it is told everything soon, then what changes."""
        viewer = Subscriber()
        self._viewers.add(viewer)
        viewer.give(_event("hello", self._cast()))
        self._joined.set()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            viewer.messages.close()

    def _cast(self) -> dict[str, Any]:
        """Who is who: each breaker, whose it is, and what it stands between."""
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
                if not self._viewers:
                    self._joined = trio.Event()
                    await self._joined.wait()
                began = trio.current_time()
                self._joined = trio.Event()
                has_changed = self._recorder.has_changed
                await self.refresh()
                await self._pause(began, has_changed)
        except PanelClosedError:
            whole.cancel()

    async def _pause(self, began: float, has_changed: trio.Event) -> None:
        await trio.sleep_until(began + SHORTEST_TICK)

        async def until(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        with trio.move_on_at(began + TICK_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(until, has_changed)
                nursery.start_soon(until, self._joined)

    async def refresh(self) -> None:
        """Ask every process side by side, and tell the viewers of each as soon as it has answered."""
        self._tell(_event("tick", {"now": time.time()}))
        async with trio.open_nursery() as nursery:
            for upstream in self._upstreams.values():
                nursery.start_soon(self._ask, upstream)
            process = self._recorder.process
            self._take(process, await self._recorder.recent(self._since(process)))

    async def _ask(self, upstream: Upstream) -> None:
        process = upstream.service.process
        path = f"/breakers?since={self._since(process):.3f}"
        found = await fetch_json(upstream.transport, upstream.base_url, path, timeout=ASK_SECONDS)
        self._take(process, readable(found))

    def _since(self, process: str) -> float:
        known = self._known.get(process)
        return 0.0 if known is None else max(0.0, known["now"] - OVERLAP_SECONDS)

    def _take(self, process: str, news: Report | None) -> None:
        """Keep what a process told, and pass on what of it is new; None: it doesn't answer."""
        if news is None:
            self._presence[process].is_silent(time.time())
        else:
            # One that was started again doesn't know what was before its start; what is known of it stays.
            news["since"] = max(news["since"], news["started"])
            self._presence[process].answers(news["started"], news["now"])
            self._known[process] = merge_reports(self._known.get(process), news)
        whole: bytes | None = None
        changed = _event("report", self._message(process, news, self._changed(process, news)))
        for viewer in list(self._viewers):
            if process in viewer.knows:
                viewer.give(changed)
                continue
            viewer.knows.add(process)
            whole = whole or self._whole(process, answers=news is not None)
            viewer.give(whole)

    def _whole(self, process: str, *, answers: bool) -> bytes:
        known = self._known.get(process)
        message = self._message(process, known, known["breakers"] if known else [])
        return _event("report", {**message, "answers": answers, "since": 0})

    def _message(self, process: str, report: Report | None, breakers: list[Report]) -> dict[str, Any]:
        presence = self._presence[process]
        more = {key: report[key] for key in ("since", "started")} if report else {}
        there = {"starts": presence.starts, "gaps": presence.gaps}
        return {"process": process, "answers": report is not None, **more, **there, "breakers": breakers}

    def _changed(self, process: str, news: Report | None) -> list[Report]:
        """The breakers of a report that differ from what was shown of them last."""
        if news is None:
            return []
        before, now = self._shown.get(process, {}), {one["name"]: json.dumps(one) for one in news["breakers"]}
        self._shown[process] = now
        return [one for one in news["breakers"] if before.get(one["name"]) != now[one["name"]]]

    def _tell(self, message: bytes) -> None:
        for viewer in list(self._viewers):
            viewer.give(message)


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
