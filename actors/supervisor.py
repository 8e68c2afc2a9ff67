"""What a breaker's actor uses of its panel."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import trio

from .events import EventBroadcaster, ShadowBroadcaster


class Supervisor(Protocol):
    """The part of the panel that an actor uses.

    transition_context: returns the context values of the caller that causes a transition; None: none are
    wanted. on_change: called with a breaker's name when its failures or its generation have changed; None:
    its state isn't shared with other instances.
    """

    nursery: trio.Nursery
    broadcaster: EventBroadcaster
    shadow_broadcaster: ShadowBroadcaster
    clock: Callable[[], float]
    transition_context: Callable[[], Mapping[str, Any]] | None
    on_change: Callable[[str], None] | None

    def report_callback(self, field: str, error: Exception) -> None:
        """Log an exception of a user's function."""

    def note_crash(self, name: str, crash: Exception) -> None:
        """Log a crash. Raises PanelFailedError after too many."""

    def note_stopped_shadow(self, name: str, error: Exception) -> None:
        """Log that a shadow's strategy has raised."""


def context_values(supervisor: Supervisor, context: contextvars.Context | None) -> Mapping[str, Any]:
    """The values that the panel's `transition_context` returns in a copy of `context`; empty without either.

    An exception of it is logged, and changes nothing.
    """
    find = supervisor.transition_context
    if find is None or context is None:
        return {}
    try:
        # A copy: the caller's own may be in use.
        return context.copy().run(find)
    except Exception as error:  # noqa: BLE001 - a function that only observes must not harm the breaker
        supervisor.report_callback("transition_context", error)
        return {}
