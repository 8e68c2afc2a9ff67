"""The panel: a nursery of breakers with a supervisor, and the registry of their names."""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio

from .breaker_actor import BreakerActor
from .circuit_breaker import CircuitBreaker
from .errors import PanelClosedError, PanelFailedError
from .events import EventBroadcaster, Subscription
from .machine.statistics import Histogram, Labels
from .mailbox import OTHER_RUN
from .messages import Remove, Snapshot
from .policy.checks import positive_int, positive_number, sync_function
from .policy.config import CircuitBreakerConfig
from .policy.same_policy import differing_fields

logger = logging.getLogger("trio_breakers")

LOOKS = 20
MOST_NAMES = 10
"""How many names the message about an unknown name lists."""
WITHOUT = {
    "bound": "the transition is told without it",
    "exemplar": "the call is counted without one",
}
"""What happens when one of these functions of the user's has raised."""
NO_TRIO = "open_panel needs trio: run the program by trio.run(main), not asyncio.run, and open it in main"
NOT_OPEN = "this panel isn't open: write `async with open_panel() as panel:` and use `panel` inside the block"


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
        self.broadcaster = EventBroadcaster()
        self.clock = trio.lowlevel.current_clock().current_time
        self._max_restarts = max_restarts
        self._restart_window = restart_window
        self._durations = durations
        self._exemplar = exemplar
        self.bound = bound
        self._crashes: deque[float] = deque(maxlen=max_restarts + 1)
        self._actors: dict[str, BreakerActor] = {}
        self._closed = False
        self._reported: set[tuple[str, type[Exception]]] = set()
        self._token = trio.lowlevel.current_trio_token()
        # A breaker made inside a request must not carry that request's context for ever.
        self._context = contextvars.copy_context()

    def breaker(self, config: CircuitBreakerConfig) -> CircuitBreaker:
        """The breaker of that name, started where there is none yet.

        The same policy finds the same breaker. `config` is compared with the policy of the first request,
        and with the one in force, which `configure` may have changed. Two functions are equal if the same
        line made them and they hold equal values.

        Raises ValueError where the name is taken by another policy, naming the fields that differ;
        PanelClosedError after the end; RuntimeError in another trio.run.
        """
        if self._closed:
            raise PanelClosedError("the panel has closed")
        actor = self._actors.get(config.name)
        if actor is None:
            return self._start(config)
        difference = differing_fields(config, actor.registered)
        if difference and differing_fields(config, actor.handle.config):
            raise ValueError(
                f"name {config.name!r} is taken by a breaker with another policy: {', '.join(difference)}"
            )
        return actor.handle

    def _start(self, config: CircuitBreakerConfig) -> CircuitBreaker:
        if not self._is_home():
            raise RuntimeError(OTHER_RUN)
        labels = None if self._exemplar is None else self._labels
        histogram = None if self._durations is None else Histogram(self._durations, labels)
        actor = BreakerActor(config, self, histogram)
        self._actors[config.name] = actor
        self._context.run(partial(self.nursery.start_soon, actor.run, name=config.name))
        return actor.handle

    def _is_home(self) -> bool:
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    async def remove(self, name: str) -> None:
        """End the breaker `name`: its task, its metrics and its events.

        Later calls through it raise PanelClosedError; calls that run end as they would, uncounted. The name
        is free at once. The breaker has ended when this returns: not cancelled for that moment. Raises
        KeyError if there is no such breaker, PanelClosedError, and RuntimeError in another trio.run.
        """
        if not self._is_home():
            raise RuntimeError(OTHER_RUN)
        actor = self._find(name)
        del self._actors[name]
        await actor.mailbox.ask(Remove())

    def __repr__(self) -> str:
        closed = "closed " if self._closed else ""
        return f"<{closed}Panel of {len(self)} breakers: {self._names()}>"

    def __getitem__(self, name: str) -> CircuitBreaker:
        """The breaker of that name. Raises KeyError, which lists the names there are."""
        return self._find(name).handle

    def get(self, name: str) -> CircuitBreaker | None:
        """The breaker of that name; None where there is none."""
        actor = self._actors.get(name)
        return None if actor is None else actor.handle

    def _find(self, name: str) -> BreakerActor:
        try:
            return self._actors[name]
        except KeyError:
            raise KeyError(f"no circuit breaker {name!r} on this panel, which has: {self._names()}") from None

    def _names(self) -> str:
        names = [repr(name) for name in self._actors]
        more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
        return ", ".join(names[:MOST_NAMES] + more) or "none"

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
        snapshots = {}
        for actor in list(self._actors.values()):
            try:
                snapshots[actor.handle.name] = await actor.handle.snapshot()
            except PanelClosedError:
                # Removed meanwhile: the others are still wanted.
                if self._closed:
                    raise
        return snapshots

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """Iterate over every Transition of every breaker, in order, from now on.

        A reader more than `buffer` events behind loses the oldest, and reads EventsLost there. Ends when the
        panel closes. Cancelling the reader loses no event.
        """
        with self.broadcaster.subscribe(buffer) as subscription:
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
        """Log an exception of `exemplar` or `bound`, once for each kind."""
        if (kind := (field, type(error))) not in self._reported:
            self._reported.add(kind)
            logger.error("%s raised; %s", field, WITHOUT[field], exc_info=error)

    async def _remove_idle(self, idle_timeout: float) -> None:
        """Remove unused breakers. Fast calls record no time, so this looks LOOKS times within the timeout."""
        since, between = self.clock(), idle_timeout / LOOKS
        # A sum of twentieths may miss the whole by a rounding.
        long = idle_timeout * (1 - 1e-9)
        while True:
            await trio.sleep(between)
            now = self.clock()
            # The process may have stood still: what is in use now is not as old as the last look.
            await self._remove_unused(max(since, now - between), now - long)
            since = now

    async def _remove_unused(self, since: float, last_use: float) -> None:
        """Remove the breakers without a call after `last_use`. since: the time of the last look."""
        idle = []
        for actor in self._actors.values():
            actor.look_for_use(since)
            if actor.idle_since <= last_use and actor.may_be_removed:
                idle.append(actor)
        # All names at once: while one breaker ends, other tasks may remove and make others.
        for actor in idle:
            del self._actors[actor.handle.name]
        for actor in idle:
            await actor.handle._tell(Remove())

    def note_crash(self, name: str, crash: Exception) -> None:
        """Log a crash, which a restart heals. Raises PanelFailedError after too many."""
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
        self.broadcaster.close()


class PanelManager(AbstractAsyncContextManager[Panel]):
    """What `open_panel` returns: `async with` opens the panel, and gives it."""

    def __init__(self, opened: AbstractAsyncContextManager[Panel]) -> None:
        self._opened = opened

    async def __aenter__(self) -> Panel:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            raise RuntimeError(NO_TRIO) from None
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, trace)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(Panel, name):
                raise RuntimeError(NOT_OPEN)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def _not_open(self, *_args: object) -> Any:
            raise RuntimeError(NOT_OPEN)

        __getitem__ = __contains__ = __iter__ = __len__ = __await__ = _not_open
        __enter__ = __exit__ = _not_open


def open_panel(
    *,
    max_restarts: int = 5,
    restart_window: float = 60.0,
    idle_timeout: float | None = None,
    durations: Sequence[float] | None = None,
    exemplar: Labels | None = None,
    bound: Callable[[], Mapping[str, Any]] | None = None,
) -> PanelManager:
    """A panel for as long as the block lasts: `async with open_panel() as panel:`. Leaving ends its breakers.

    max_restarts: crashes of breakers within restart_window seconds that are healed by a restart; one
        more raises PanelFailedError and cancels the block.
    idle_timeout: seconds without a call after which a breaker is removed, as by `Panel.remove`, or up to a
        twentieth of that earlier; for names that come and go, such as tenants or hosts. A breaker that is
        open or held by an operator stays, and so does one with a running call or a reader of its events.
        Get such breakers from the panel at each use, and don't keep them. None: none is removed.
    durations: upper bounds in seconds of a histogram of calls' durations; None: no clock is read.
    exemplar: returns the labels, such as a trace's id, by which a call in that histogram can be found, or
        None; called in the caller's context.
    bound: returns context values, such as a request's id, of the caller that causes a transition: they are in
        `Transition.bound`. Called in a copy of that caller's context, and not for transitions due to time.

    An exception of exemplar or bound is logged, once for each kind, and changes nothing. The block's own
    exception comes out bare. Raises ValueError for a value out of range, TypeError for an async exemplar or
    bound, RuntimeError outside of trio.run and if the panel is used before it is entered. Cancelling the
    block ends the breakers too; calls through them elsewhere end as they would, uncounted.
    """
    positive_int("max_restarts", max_restarts, least=0)
    positive_number("restart_window", restart_window)
    if idle_timeout is not None:
        positive_number("idle_timeout", idle_timeout)
    for field, value in (("exemplar", exemplar), ("bound", bound)):
        if value is not None:
            sync_function(field, value)
    make = partial(
        Panel,
        max_restarts=max_restarts,
        restart_window=restart_window,
        durations=durations,
        exemplar=exemplar,
        bound=bound,
    )
    return PanelManager(_opened(make, idle_timeout))


OPEN_PANELS: trio.lowlevel.RunVar[tuple[Panel, ...]] = trio.lowlevel.RunVar("open_panels", ())
"""The panels open in the running trio.run, the last opened last."""


@asynccontextmanager
async def _opened(make: Callable[[trio.Nursery], Panel], idle_timeout: float | None) -> AsyncIterator[Panel]:
    panel: Panel | None = None
    raised: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            panel = make(nursery)
            OPEN_PANELS.set((*OPEN_PANELS.get(), panel))
            if idle_timeout is not None:
                nursery.start_soon(panel._remove_idle, idle_timeout)
            try:
                yield panel
            except Exception as error:  # noqa: BLE001 - re-raised below
                # Kept out of the nursery, which would hand it on wrapped or rebuilt.
                raised = error
            finally:
                OPEN_PANELS.set(tuple(one for one in OPEN_PANELS.get() if one is not panel))
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
