"""The panel: a registry of breakers by name, and the supervisor of their tasks."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import trio

from ..breaker_actor import BreakerActor
from ..circuit_breaker import CircuitBreaker
from ..commands import Command, Remove
from ..errors import OTHER_RUN, PanelClosedError, PanelFailedError
from ..events import EventBroadcaster, ShadowBroadcaster, ShadowSubscription, Subscription
from ..machine.machine import Machine
from ..machine.statistics import Histogram, Labels
from ..mailbox import Mailbox
from ..messages import Snapshot
from ..policy.config import CircuitBreakerConfig
from ..policy.same_policy import differing_fields

logger = logging.getLogger("trio_breakers")

CHECKS = 20
"""How often within `idle_timeout` the panel looks for unused breakers."""
MOST_NAMES = 10
"""How many names the message about an unknown name lists."""
WITHOUT = {
    "transition_context": "the transition is reported without it",
    "exemplar": "the call is counted without one",
}
"""The effect of an exception of one of these functions of the user."""


class Entry(NamedTuple):
    """What the panel keeps of a breaker.

    registered: the policy by which the breaker was first requested; `configure` may have changed it since.
    """

    breaker: CircuitBreaker
    actor: BreakerActor
    registered: CircuitBreakerConfig


class Panel:
    """All breakers of one process. Opened by `open_panel`; belongs to that trio.run."""

    def __init__(
        self,
        nursery: trio.Nursery,
        max_restarts: int,
        restart_window: float,
        durations: Sequence[float] | None,
        exemplar: Labels | None,
        transition_context: Callable[[], Mapping[str, Any]] | None,
    ) -> None:
        self.nursery = nursery
        self.broadcaster = EventBroadcaster()
        self.shadow_broadcaster = ShadowBroadcaster()
        self.clock = trio.lowlevel.current_clock().current_time
        self.transition_context = transition_context
        self.on_change: Callable[[str], None] | None = None
        self.closed = False
        self._max_restarts = max_restarts
        self._restart_window = restart_window
        self._durations = durations
        self._exemplar = exemplar
        self._crashes: deque[float] = deque(maxlen=max_restarts + 1)
        self._entries: dict[str, Entry] = {}
        # The callback and the kind of each exception that was logged.
        self._reported: set[tuple[str, type[Exception]]] = set()
        self._token = trio.lowlevel.current_trio_token()
        # A breaker made inside a request must not keep that request's context.
        self._context = contextvars.copy_context()

    # The registry.

    def breaker(self, config: CircuitBreakerConfig) -> CircuitBreaker:
        """The breaker of that name, made and started if there is none yet.

        The same policy finds the same breaker. `config` is compared with the policy of the first request,
        and with the one in force, which `configure` may have changed. Two functions are equal if the same
        line made them and they hold equal values.

        Raises ValueError if the name is taken by another policy, with the fields that differ;
        PanelClosedError after the end; RuntimeError in another trio.run.
        """
        if self.closed:
            raise PanelClosedError("the panel has closed")
        entry = self._entries.get(config.name)
        if entry is None:
            return self._start(config)
        difference = differing_fields(config, entry.registered)
        if difference and differing_fields(config, entry.breaker.config):
            raise ValueError(
                f"name {config.name!r} is taken by a breaker with another policy: {', '.join(difference)}"
            )
        return entry.breaker

    def _start(self, config: CircuitBreakerConfig) -> CircuitBreaker:
        if not self._is_home():
            raise RuntimeError(OTHER_RUN)
        labels = None if self._exemplar is None else self._labels
        histogram = None if self._durations is None else Histogram(self._durations, labels)
        mailbox: Mailbox[Command] = Mailbox(self.nursery)
        breaker = CircuitBreaker(config, mailbox, self.clock, histogram)
        actor = BreakerActor(Machine(config, now=self.clock()), breaker, self)
        self._entries[config.name] = Entry(breaker, actor, config)
        self._context.run(partial(self.nursery.start_soon, actor.run, name=config.name))
        return breaker

    def _is_home(self) -> bool:
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    async def remove(self, name: str) -> None:
        """End the breaker `name`: its task, its metrics and its events.

        Later calls through it raise PanelClosedError. Running calls go on, and end uncounted. The name is
        free at once. The breaker has ended when this returns: not cancelled for that moment. Raises KeyError
        if there is no such breaker, PanelClosedError, and RuntimeError in another trio.run.
        """
        if not self._is_home():
            raise RuntimeError(OTHER_RUN)
        entry = self._find(name)
        del self._entries[name]
        await entry.actor.mailbox.ask(Remove())

    def __repr__(self) -> str:
        closed = "closed " if self.closed else ""
        return f"<{closed}Panel of {len(self)} breakers: {self._names()}>"

    def __getitem__(self, name: str) -> CircuitBreaker:
        """The breaker of that name. Raises KeyError, which lists the names of the panel."""
        return self._find(name).breaker

    def get(self, name: str) -> CircuitBreaker | None:
        """The breaker of that name; None if there is none."""
        entry = self._entries.get(name)
        return None if entry is None else entry.breaker

    def _find(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise KeyError(f"no circuit breaker {name!r} on this panel, which has: {self._names()}") from None

    def _names(self) -> str:
        names = [repr(name) for name in self._entries]
        more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        return ", ".join(names[:MOST_NAMES] + more) or "none"

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[CircuitBreaker]:
        return iter([entry.breaker for entry in self._entries.values()])

    def __len__(self) -> int:
        return len(self._entries)

    async def snapshots(self) -> dict[str, Snapshot]:
        """A snapshot of each breaker by name, each taken as `CircuitBreaker.snapshot` does.

        Not one moment for all of them. Not cancelled while it waits. Raises PanelClosedError.
        """
        snapshots = {}
        for breaker in self:
            try:
                snapshots[breaker.name] = await breaker.snapshot()
            except PanelClosedError:
                # Removed meanwhile: the others are still wanted.
                if self.closed:
                    raise
        return snapshots

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """Iterate over every Transition of every breaker, in order, from now on.

        A reader more than `buffer` events behind loses the oldest, and reads EventsLost in their place. Ends
        when the panel closes. Cancelling the reader loses no event.
        """
        with self.broadcaster.subscribe(buffer) as subscription:
            yield subscription

    @asynccontextmanager
    async def shadow_events(self, buffer: int = 1000) -> AsyncIterator[ShadowSubscription]:
        """Iterate over every ShadowTransition of every breaker, in order, from now on.

        They are apart from `events`, whose readers see only what the breakers do. Buffer, end and
        cancellation are as there; raises ValueError for a buffer below 1.
        """
        with self.shadow_broadcaster.subscribe(buffer) as subscription:
            yield subscription

    def _labels(self) -> Mapping[str, str] | None:
        """The labels that `exemplar` returns; None if it returns none, or raises."""
        assert self._exemplar is not None
        try:
            return self._exemplar() or None
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self.report_callback("exemplar", error)
            return None

    def report_callback(self, field: str, error: Exception) -> None:
        """Log an exception of the panel's function `field`, once for each kind."""
        if (kind := (field, type(error))) not in self._reported:
            self._reported.add(kind)
            logger.error("%s raised; %s", field, WITHOUT[field], exc_info=error)

    # The supervisor.

    async def remove_idle(self, idle_timeout: float) -> None:
        """Remove breakers that weren't used for `idle_timeout` seconds, until cancelled.

        Fast calls record no time, so this compares counts CHECKS times within the timeout.
        """
        since, between = self.clock(), idle_timeout / CHECKS
        # A sum of twentieths may miss the whole by a rounding.
        timeout = idle_timeout * (1 - 1e-9)
        while True:
            await trio.sleep(between)
            now = self.clock()
            # The process may have stood still: a breaker in use now was used after the last check.
            await self._remove_unused(max(since, now - between), now - timeout)
            since = now

    async def _remove_unused(self, since: float, last_use: float) -> None:
        """Remove the breakers without a call after `last_use`. since: the time of the last check."""
        idle = []
        for entry in self._entries.values():
            entry.actor.note_use(since)
            if entry.actor.idle_since <= last_use and entry.actor.may_be_removed:
                idle.append(entry)
        # All names at once: while one breaker ends, other tasks may remove and make others.
        for entry in idle:
            del self._entries[entry.breaker.name]
        for entry in idle:
            await entry.actor.mailbox.deliver(Remove())

    def note_crash(self, name: str, crash: Exception) -> None:
        """Log a crash. Raises PanelFailedError after more than `max_restarts` within the window."""
        now = self.clock()
        logger.error("circuit breaker %r crashed; restarting", name, exc_info=crash)
        self._crashes.append(now)
        if len(self._crashes) > self._max_restarts and now - self._crashes[0] <= self._restart_window:
            raise PanelFailedError(
                f"more than {self._max_restarts} restarts in {self._restart_window:g} s, "
                f"the last of circuit breaker {name!r}"
            ) from crash

    def note_stopped_shadow(self, name: str, error: Exception) -> None:
        """Log that a shadow's strategy has raised. It harms no call, and doesn't count as a crash."""
        logger.error("the shadow policy of circuit breaker %r raised and has stopped", name, exc_info=error)

    def begin_closing(self) -> None:
        """Cancel the tasks of the breakers: the block is being left."""
        self.closed = True
        self.nursery.cancel_scope.cancel()

    def finish_closing(self) -> None:
        """End the subscriptions: every task of the panel has ended."""
        self.closed = True
        self.broadcaster.close()
        self.shadow_broadcaster.close()
