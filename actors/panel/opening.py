"""`open_panel`: a panel for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import trio

from ..machine.statistics import Labels
from ..policy.checks import positive_int, positive_number, sync_function
from .panel import Panel

NO_TRIO = "open_panel needs trio: run the program by trio.run(main), not asyncio.run, and open it in main"
NOT_OPEN = "this panel isn't open: write `async with open_panel() as panel:` and use `panel` inside the block"


class PanelManager(AbstractAsyncContextManager[Panel]):
    """Made by `open_panel`: `async with` opens the panel, and returns it."""

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

    if not TYPE_CHECKING:  # pragma: no branch - checkers see no such attribute

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
    transition_context: Callable[[], Mapping[str, Any]] | None = None,
    bound: Callable[[], Mapping[str, Any]] | None = None,
) -> PanelManager:
    """A panel for as long as the block lasts: `async with open_panel() as panel:`. Leaving ends its breakers.

    max_restarts: crashed breakers are restarted up to so many times within restart_window seconds; one more
        crash cancels the block and raises PanelFailedError.
    idle_timeout: seconds without a call after which a breaker is removed, as by `Panel.remove`, or up to a
        twentieth of that earlier; for names that come and go, such as tenants or hosts. A breaker that is
        open or held by an operator stays, and so does one with a running call or a reader of its events.
        Get such breakers from the panel at each use, and don't keep them. None: no breaker is removed.
    durations: upper bounds in seconds of a histogram of calls' durations; None: no clock is read.
    exemplar: returns the labels, such as a trace's id, by which a call in that histogram can be found, or
        None; called in the caller's context.
    transition_context: returns values, such as a request's id, of the caller that causes a transition: they
        are in `Transition.context`. Called in a copy of that caller's context, and not for transitions due to
        time.
    bound: the former name of transition_context.

    An exception of exemplar or transition_context is logged, once for each kind, and changes nothing. The
    block's own exception comes out unwrapped. Raises ValueError for a value out of range, TypeError for an
    async exemplar or transition_context, RuntimeError outside of trio.run and if the panel is used before it
    is entered. Cancelling the block ends the breakers too; calls through them in other tasks go on, and end
    uncounted.
    """
    positive_int("max_restarts", max_restarts, least=0)
    positive_number("restart_window", restart_window)
    if idle_timeout is not None:
        positive_number("idle_timeout", idle_timeout)
    transition_context = transition_context or bound
    for field, value in (("exemplar", exemplar), ("transition_context", transition_context)):
        if value is not None:
            sync_function(field, value)
    make = partial(
        Panel,
        max_restarts=max_restarts,
        restart_window=restart_window,
        durations=durations,
        exemplar=exemplar,
        transition_context=transition_context,
    )
    return PanelManager(_opened(make, idle_timeout))


OPEN_PANELS: trio.lowlevel.RunVar[tuple[Panel, ...]] = trio.lowlevel.RunVar("open_panels", ())
"""The panels that are open in the running trio.run, the last opened last."""


@asynccontextmanager
async def _opened(make: Callable[[trio.Nursery], Panel], idle_timeout: float | None) -> AsyncIterator[Panel]:
    panel: Panel | None = None
    raised: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            panel = make(nursery)
            OPEN_PANELS.set((*OPEN_PANELS.get(), panel))
            if idle_timeout is not None:
                nursery.start_soon(panel.remove_idle, idle_timeout)
            try:
                yield panel
            except Exception as error:  # noqa: BLE001 - re-raised below
                # Kept out of the nursery, which would wrap or rebuild it.
                raised = error
            finally:
                OPEN_PANELS.set(tuple(one for one in OPEN_PANELS.get() if one is not panel))
                panel.begin_closing()
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__
    finally:
        if panel is not None:  # pragma: no branch - inside trio a nursery always opens
            panel.finish_closing()
    if raised is not None:
        raise raised
