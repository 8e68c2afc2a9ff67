"""The panel: a nursery of breakers with a supervisor, and the registry of their names."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from actors.breaker import BreakerActor
from actors.checks import positive_int, positive_number
from actors.config import CircuitBreakerConfig
from actors.errors import PanelClosedError, PanelFailedError
from actors.events import Hub, Subscription
from actors.handle import CircuitBreaker
from actors.ledger import Labels, Meter
from protocols.breaker import Snapshot

logger = logging.getLogger("actors")


class Panel:
    """All breakers of one process. Opened by `open_panel`; belongs to that trio.run."""

    def __init__(
        self,
        nursery: trio.Nursery,
        max_restarts: int,
        restart_window: float,
        durations: Sequence[float] | None,
        exemplar: Labels | None,
        bound: Callable[[], Mapping[str, Any]] | None,
    ) -> None:
        self.nursery = nursery
        self.hub = Hub()
        self.clock = trio.lowlevel.current_clock().current_time
        self._max_restarts = max_restarts
        self._restart_window = restart_window
        self._durations = durations
        self._exemplar = exemplar
        self.bound = bound
        self._crashes: deque[float] = deque(maxlen=max_restarts + 1)
        self._actors: dict[str, BreakerActor] = {}
        self._closed = False
        # A breaker made inside a request must not carry that request's context for ever.
        self._context = contextvars.copy_context()

    def breaker(self, config: CircuitBreakerConfig) -> CircuitBreaker:
        """The breaker of that name, started where there is none yet.

        Raises ValueError where the name is taken by another policy, PanelClosedError after the end.
        """
        if self._closed:
            raise PanelClosedError("the panel has closed")
        actor = self._actors.get(config.name)
        if actor is None:
            meter = None if self._durations is None else Meter(self._durations, self._exemplar)
            actor = BreakerActor(config, self, meter)
            self._actors[config.name] = actor
            self._context.run(partial(self.nursery.start_soon, actor.run, name=config.name))
        elif actor.handle.config != config:
            raise ValueError(
                f"name {config.name!r} is taken by a breaker with another policy: {actor.handle.config!r}"
            )
        return actor.handle

    def __getitem__(self, name: str) -> CircuitBreaker:
        """Raises KeyError with the name."""
        return self._actors[name].handle

    def __contains__(self, name: object) -> bool:
        return name in self._actors

    def __iter__(self) -> Iterator[CircuitBreaker]:
        return iter([actor.handle for actor in self._actors.values()])

    def __len__(self) -> int:
        return len(self._actors)

    async def snapshots(self) -> dict[str, Snapshot]:
        """A snapshot of each breaker by name, each taken as `CircuitBreaker.snapshot` does.

        Not one moment for all of them. Not cancelled while it waits. Raises PanelClosedError.
        """
        return {breaker.name: await breaker.snapshot() for breaker in self}

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """Iterate over every Transition of every breaker, in order, from now on.

        A reader more than `buffer` events behind loses the oldest, and reads EventsLost there. Ends when the
        panel closes. Cancelling the reader loses no event.
        """
        with self.hub.subscribe(buffer) as subscription:
            yield subscription

    def note_crash(self, name: str, crash: Exception) -> None:
        """The supervisor's judgement: one more restart, or PanelFailedError."""
        now = self.clock()
        logger.error("circuit breaker %r crashed; restarting", name, exc_info=crash)
        self._crashes.append(now)
        if len(self._crashes) > self._max_restarts and now - self._crashes[0] <= self._restart_window:
            raise PanelFailedError(
                f"more than {self._max_restarts} restarts in {self._restart_window:g} s, "
                f"the last of circuit breaker {name!r}"
            ) from crash

    def _close(self) -> None:
        self._closed = True
        self.nursery.cancel_scope.cancel()

    def _end(self) -> None:
        self._closed = True
        self.hub.close()


@asynccontextmanager
async def open_panel(
    *,
    max_restarts: int = 5,
    restart_window: float = 60.0,
    durations: Sequence[float] | None = None,
    exemplar: Labels | None = None,
    bound: Callable[[], Mapping[str, Any]] | None = None,
) -> AsyncIterator[Panel]:
    """A panel for as long as the block lasts; leaving it ends every breaker's task.

    max_restarts: crashes of breakers within restart_window seconds that are healed by a restart; one
        more raises PanelFailedError and cancels the block.
    durations: upper bounds in seconds of a histogram of calls' durations; None: no clock is read.
    exemplar: gives the labels, such as a trace's id, under which a call that is being counted there can
        be looked up, or None; called in the caller's context.
    bound: gives what a transition shall tell of whoever brings it about, such as a request's id; called in
        their context, at each transition that isn't time's alone.

    The block's own exception comes out bare. Raises ValueError for a value out of range. Cancelling the block
    ends the breakers too; calls of theirs elsewhere end as they would, uncounted.
    """
    positive_int("max_restarts", max_restarts, least=0)
    positive_number("restart_window", restart_window)
    panel: Panel | None = None
    raised: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            panel = Panel(nursery, max_restarts, restart_window, durations, exemplar, bound)
            try:
                yield panel
            except Exception as error:  # noqa: BLE001 - re-raised below
                # Kept out of the nursery, which would hand it on wrapped or rebuilt.
                raised = error
            finally:
                panel._close()
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__
    finally:
        if panel is not None:  # pragma: no branch - inside trio a nursery always opens
            panel._end()
    if raised is not None:
        raise raised
