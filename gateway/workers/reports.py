"""What each worker of one gateway reports, in Valkey.

A slot's report holds the counts of all workers that have run in that slot. It stays when a worker dies, and
its successor continues from it.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from actors.adapters.valkey import ValkeyConnection
from actors.messages import Snapshot
from actors.sharing.wire import VERSION
from gateway.metrics.request_counts import RequestCounts
from gateway.workers.merge import add_counts, add_totals, at_least, totals_at_least, without_counts
from runtime.sharing.snapshots import from_json, to_json

REPLY_SECONDS = 0.3
"""The longest wait for the other workers' new reports."""
KEEP_SECONDS = 3600
"""Seconds for which reports stay after the last worker's end."""

Snapshots = Mapping[str, Snapshot]
Totals = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """Breakers by name, other counters by name, and requests. pid: of the worker that reports."""

    pid: int
    snapshots: Snapshots = field(default_factory=dict)
    totals: Totals = field(default_factory=dict)
    requests: RequestCounts = field(default_factory=RequestCounts)

    def is_running(self) -> bool:
        """Whether the worker runs. All workers of one gateway are on one machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def plus(self, earlier: WorkerReport) -> WorkerReport:
        """This report with the counts of an earlier worker of the same slot added."""
        return WorkerReport(
            self.pid,
            {name: add_counts(one, earlier.snapshots.get(name)) for name, one in self.snapshots.items()},
            add_totals(self.totals, earlier.totals),
            self.requests.merge(earlier.requests.of_the_past()),
        )

    def at_least(self, floor: WorkerReport) -> WorkerReport:
        """This report with no count lower than that of `floor`."""
        return WorkerReport(
            self.pid,
            {name: at_least(one, floor.snapshots.get(name)) for name, one in self.snapshots.items()},
            totals_at_least(self.totals, floor.totals),
            self.requests.at_least(floor.requests),
        )

    def without_counts(self) -> WorkerReport:
        """This report's states, and what is in flight and connected, with every count at zero."""
        return replace(
            self,
            snapshots={name: without_counts(one) for name, one in self.snapshots.items()},
            totals={},
            requests=self.requests.without_counts(),
        )


def encode(report: WorkerReport) -> str:
    """Return a report as JSON."""
    snapshots = {name: to_json(one) for name, one in report.snapshots.items()}
    values = {"pid": report.pid, "snapshots": snapshots, "totals": dict(report.totals)}
    return json.dumps({**values, "requests": report.requests.to_json()})


def decode(text: str) -> WorkerReport:
    """Return the report that `encode` has made a text of."""
    values = json.loads(text)
    snapshots = {name: from_json(one) for name, one in values["snapshots"].items()}
    totals = {name: int(count) for name, count in values["totals"].items()}
    # A predecessor of an earlier version has reported none.
    requests = RequestCounts.from_json(values["requests"]) if "requests" in values else RequestCounts()
    return WorkerReport(int(values["pid"]), snapshots, totals, requests)


class ReportStore:
    """The reports of one gateway's workers, and the messages by which workers ask each other for new ones.

    gateway: the name of the workers together. wanted: called when another worker asks for a new report.
    """

    def __init__(
        self, connection: ValkeyConnection, gateway: str, slot: int, wanted: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._slot = slot
        self._wanted = wanted
        self._key = f"school:{VERSION}:{{{gateway}}}:reports"
        self._channel = f"school:{VERSION}:{gateway}:reports"
        connection.subscriptions[self._channel] = self._hear
        self._asked: list[str] = []
        self._replies: dict[str, int] = {}
        self._replied = trio.Event()
        self._known: dict[int, str] = {}
        """By slot, the last report read."""
        self.shown: dict[int, str] = {}
        """By slot, the sums that its worker has shown last."""

    def _hear(self, message: str | None) -> None:
        kind, _, rest = (message or "").partition(" ")
        match kind:
            case "":
                self._wanted()  # connected: the others may have waited for this worker's report
            case "ask" if rest in self._replies:
                self._note_reply(rest)  # this worker's own question
            case "ask":
                self._asked.append(rest)
                self._wanted()
            case "done":
                for question in rest.split():
                    self._note_reply(question)
            case "shown":
                slot, _, text = rest.partition(" ")
                self.shown[int(slot)] = text

    def _note_reply(self, question: str) -> None:
        if question in self._replies:
            self._replies[question] += 1
            self._replied.set()

    async def write(self, text: str) -> None:
        """Write this slot's report, and reply to all who have asked for it. Raises StoreUnavailable."""
        asked, self._asked = self._asked, []

        async def use(client: Any) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                results = [
                    pipeline.hset(self._key, {str(self._slot): text}),
                    pipeline.expire(self._key, KEEP_SECONDS),
                ]
                if asked:
                    results.append(pipeline.publish(self._channel, " ".join(["done", *asked])))
            for result in results:
                await result

        await self._connection.call(use)

    async def collect(self) -> dict[int, WorkerReport]:
        """Ask the other workers for their reports, and return every slot's; see `read`.

        A worker that doesn't reply within REPLY_SECONDS is as it was.
        """
        question = uuid.uuid4().hex
        self._replies[question] = 0
        try:
            running = await self._connection.call(
                lambda client: client.publish(self._channel, f"ask {question}")
            )
            with trio.move_on_after(REPLY_SECONDS):
                while self._replies[question] < running:
                    self._replied = trio.Event()
                    await self._replied.wait()
        finally:
            del self._replies[question]
        return await self.read()

    async def read(self) -> dict[int, WorkerReport]:
        """Return every slot's last report. Reports that the store has lost are written again.

        Raises StoreUnavailable.
        """
        found = await self._connection.call(lambda client: client.hgetall(self._key))
        texts = {int(slot): text for slot, text in found.items()}
        await self._restore({slot: text for slot, text in self._known.items() if slot not in texts})
        self._known.update(texts)
        return {slot: decode(text) for slot, text in self._known.items()}

    async def _restore(self, lost: Mapping[int, str]) -> None:
        for slot, text in lost.items():
            name = str(slot)
            await self._connection.call(
                lambda client, name=name, text=text: client.hsetnx(self._key, name, text)  # type: ignore[misc]
            )

    async def publish_shown(self, text: str) -> None:
        """Tell the other workers which sums are about to be shown. Raises StoreUnavailable."""
        self.shown[self._slot] = text
        await self._connection.call(
            lambda client: client.publish(self._channel, f"shown {self._slot} {text}")
        )

    def all_shown(self) -> list[WorkerReport]:
        """The sums that any worker has shown, as far as this one has heard."""
        return [decode(text) for text in self.shown.values()]
