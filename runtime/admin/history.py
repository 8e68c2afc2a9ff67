"""The recent history of a process's breakers, in bounded memory: for dashboard, admin API and `just watch`.

It costs a call nothing: counters are sampled once a second, and transitions arrive as events.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import trio

from actors import Backoff, CircuitBreakerConfig, PanelClosedError, ShadowPolicy
from actors.adapters.health import learned_view, shadow_view
from actors.messages import Snapshot, Transition
from actors.policy.any_of import AnyOf
from actors.policy.window import LastCalls, LastSeconds
from runtime.breaker_source import BreakerSource
from runtime.config.policies import CODE_FIELDS

SAMPLE_SECONDS = 1.0
BUCKET_SECONDS = 5
BUCKETS = 180
"""The number of buckets: a quarter of an hour of calls."""
TRANSITIONS = 200
FAILURES = 50

OUTCOMES = ("success", "failure", "ignored", "cancelled", "rejected")
"""The order of the counts in a bucket, after its start time."""

Report = dict[str, Any]
Orders = Callable[[], list[Report]]
OtherInstances = Callable[[], Awaitable[list[Report]]]
PAST = ("transitions", "failures", "calls_by_time")
"""The keys of a breaker's history in a report."""
ORDERS = 100
"""The most operators' orders in a merged report."""


class _History:
    """One breaker's recent history."""

    def __init__(self) -> None:
        self.transitions: deque[Report] = deque(maxlen=TRANSITIONS)
        self.failures: deque[Report] = deque(maxlen=FAILURES)
        self.buckets: deque[list[int]] = deque(maxlen=BUCKETS)
        self._counts: Mapping[str, int] | None = None

    def sample(self, snapshot: Snapshot, now: float) -> None:
        """Add the calls counted since the last sample to the current bucket."""
        before, self._counts = self._counts, dict(snapshot.counts)
        if before is None:
            return
        grown = [max(0, snapshot.counts.get(one, 0) - before.get(one, 0)) for one in OUTCOMES]
        if any(grown):
            self._add(int(now) // BUCKET_SECONDS * BUCKET_SECONDS, grown)
        if grown[1]:
            self.failures.append({"time": now, "count": grown[1], "error": snapshot.last_failure})

    def _add(self, start: int, grown: Sequence[int]) -> None:
        if not self.buckets or self.buckets[-1][0] != start:
            self.buckets.append([start, 0, 0, 0, 0, 0])
        bucket = self.buckets[-1]
        for index, count in enumerate(grown, 1):
            bucket[index] += count

    def recent(self, since: float) -> Report:
        """Return the history since `since` (Unix seconds)."""
        return {
            "transitions": [one for one in self.transitions if one["time"] >= since],
            "failures": [one for one in self.failures if one["time"] >= since],
            "calls_by_time": [bucket for bucket in self.buckets if bucket[0] > since - BUCKET_SECONDS],
        }


class Recorder:
    """Records the recent history of a panel's breakers while `run` runs.

    process: its name in reports. clock: returns Unix seconds. other_instances: returns what reports list
    as `instances`; a process that shares its breakers sets it. orders: returns what operators have ordered
    lately; a process with an admin API sets it.
    """

    def __init__(self, process: str, panel: BreakerSource, clock: Callable[[], float] = time.time) -> None:
        self.process = process
        self._panel = panel
        self._clock = clock
        self._histories: dict[str, _History] = {}
        self._started = clock()
        self.has_changed = trio.Event()
        """Set and replaced at each transition."""
        self.other_instances: OtherInstances | None = None
        self.orders: Orders = list

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Record until the panel closes. Safe to cancel at any point."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, nursery.cancel_scope)
            task_status.started()
            try:
                while True:
                    await self.sample()
                    await trio.sleep(SAMPLE_SECONDS)
            except PanelClosedError:
                nursery.cancel_scope.cancel()

    async def _listen(
        self, whole: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with self._panel.events() as events:
            task_status.started()
            async for event in events:
                if isinstance(event, Transition):
                    self._history(event.name).transitions.append(transition_view(event))
                    self.has_changed.set()
                    self.has_changed = trio.Event()
        whole.cancel()

    def _history(self, name: str) -> _History:
        return self._histories.setdefault(name, _History())

    async def sample(self) -> dict[str, Snapshot]:
        """Sample every breaker and return the snapshots by name. Raises PanelClosedError."""
        snapshots = await self._panel.snapshots()
        now = self._clock()
        for name, snapshot in snapshots.items():
            self._history(name).sample(snapshot, now)
        return snapshots

    async def recent(self, since: float = 0.0, only: str | None = None) -> Report:
        """Return a report of every breaker with its history since `since` (Unix seconds).

        only: the name of the one breaker to report; None: all. Raises PanelClosedError.
        """
        snapshots = await self.sample()
        now = self._clock()
        others = {} if self.other_instances is None else {"instances": await self.other_instances()}
        return {
            **others,
            "process": self.process,
            "started": self._started,
            "now": now,
            "since": since,
            "orders": self.orders(),
            "breakers": [
                {**breaker_view(self._panel[name].config, snapshot, now), **self._history(name).recent(since)}
                for name, snapshot in snapshots.items()
                if only in (None, name)
            ],
        }


def breaker_view(config: CircuitBreakerConfig, snapshot: Snapshot, now: float) -> Report:
    """Return one breaker as JSON: state, reason, counts and policy. Times are Unix seconds."""
    wait = snapshot.retry_after
    return {
        "name": snapshot.name,
        "state": snapshot.state.name,
        "since": snapshot.unix_changed_at,
        "outage_since": snapshot.unix_opened_at or None,
        "reason": snapshot.last_reason,
        # A point in time instead of a wait: it stays constant while nothing changes. Readers need no more
        # than tenths.
        "probe_at": None if wait is None else round(now + wait, 1),
        "failure_count": snapshot.failure_count,
        "slow_count": snapshot.slow_count,
        "last_failure": snapshot.last_failure,
        "in_flight": snapshot.in_flight,
        "bulkhead_limit": snapshot.bulkhead_limit,
        "generation": snapshot.generation,
        "calls": dict(snapshot.counts),
        "rejections": dict(snapshot.rejections),
        "would_reject": snapshot.would_reject,
        **learned_view(snapshot),
        **shadow_view(snapshot),
        "policy": policy_view(config),
    }


def transition_view(event: Transition) -> Report:
    """Return one transition as JSON."""
    return {
        "breaker": event.name,
        "old": event.old.name,
        "new": event.new.name,
        "reason": event.reason,
        "time": event.unix_time,
        "generation": event.generation,
        "retry_after": event.retry_after,
        "observed": event.observed,
    }


def policy_view(config: CircuitBreakerConfig) -> Report:
    """Return a policy in the form of breakers.toml, without the fields that hold code."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name not in CODE_FIELDS and field.name != "name"
    }


def _plain(value: Any) -> Any:
    if isinstance(value, LastCalls):
        return {"last_calls": value.n}
    if isinstance(value, LastSeconds):
        return {"last_seconds": value.s}
    if isinstance(value, AnyOf):
        return {"kind": "AnyOf", "strategies": [_plain(one) for one in value.strategies]}
    if isinstance(value, ShadowPolicy):
        return {key: _plain(field) for key, field in value.changes().items()}
    if not dataclasses.is_dataclass(value):
        return value
    table = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return table if isinstance(value, Backoff) else {"kind": type(value).__name__, **table}


def merge_reports(known: Report | None, news: Report) -> Report:
    """Return `news` with the older part of each breaker's history from `known`. Pure.

    Both are reports of one process; `news` holds the history since news["since"].
    """
    if known is None:
        return news
    old = {breaker["name"]: breaker for breaker in known["breakers"]}
    since = news["since"]
    breakers = [
        {**breaker, **_joined(old.get(breaker["name"], {}), breaker, since)} for breaker in news["breakers"]
    ]
    orders = merge_orders(known.get("orders", ()), news.get("orders", ()))
    times = {"since": known["since"], "started": known["started"]}
    return {**news, **times, "orders": orders, "breakers": breakers}


def merge_orders(known: Iterable[Report], news: Iterable[Report]) -> list[Report]:
    """Return `news` with the older orders that a process has forgotten, oldest first. Pure.

    An order that it has forgotten isn't in force.
    """
    by_id = {one["id"]: {**one, "in_force": False} for one in known} | {one["id"]: one for one in news}
    return sorted(by_id.values(), key=lambda one: one["time"])[-ORDERS:]


def _joined(old: Report, new: Report, since: float) -> Report:
    limits = dict(zip(PAST, (TRANSITIONS, FAILURES, BUCKETS), strict=True))
    starts = {"calls_by_time": since - BUCKET_SECONDS}
    return {
        part: [
            *(one for one in old.get(part, ()) if _before(one, starts.get(part, since))),
            *new.get(part, ()),
        ][-limit:]
        for part, limit in limits.items()
    }


def _before(one: Any, since: float) -> bool:
    return bool(one[0] <= since) if isinstance(one, list) else bool(one["time"] < since)
