"""A log line for each transition, through structlog."""

from __future__ import annotations

import structlog
import trio

from ..events import ShadowSubscription
from ..messages import EventsLost, ShadowTransition, State, Transition
from ..panel.panel import Panel

VERBS = {State.OPEN: "OPENED", State.FORCED_OPEN: "OPENED"}


def transition_line(event: Transition) -> str:
    """The message of a transition's log line, in the format that operators' tools match."""
    verb = VERBS.get(event.new, event.new.name)
    would = "would be " if event.observed else ""
    return f"[CIRCUIT_BREAKER] {event.name} circuit breaker {would}{verb}: {event.reason}"


async def log_transitions(
    panel: Panel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Log every transition of every breaker until the panel closes. For a nursery of the caller.

    Those of shadow policies are logged as info, in other words and fields: see `shadow_line`.

        await nursery.start(log_transitions, panel)

    To the logger `breaker`: a warning if calls are rejected from then on, else info, with the context values
    of the caller that caused the transition: open the panel with
    `transition_context=structlog.contextvars.get_contextvars`. If the log is a thousand transitions behind, a
    warning has the number of lost ones. Cancelling ends it.
    """
    log = structlog.get_logger("breaker")
    async with panel.events() as events, panel.shadow_events() as shadows, trio.open_nursery() as nursery:
        nursery.start_soon(_log_shadows, log, shadows)
        task_status.started()
        async for event in events:
            if isinstance(event, Transition):
                _log(log, event)
            elif isinstance(event, EventsLost):  # pragma: no branch - a panel emits nothing else
                log.warning("transitions were not logged", count=event.count)


def shadow_line(event: ShadowTransition) -> str:
    """The message for a transition of a shadow policy: no alert on `transition_line` matches it."""
    old, new = (state.name.lower().replace("_", "-") for state in (event.old, event.new))
    return f"the shadow policy of {event.name} would go from {old} to {new}: {event.reason}"


async def _log_shadows(log: structlog.typing.FilteringBoundLogger, shadows: ShadowSubscription) -> None:
    async for event in shadows:
        if isinstance(event, ShadowTransition):
            states = {"shadow_from": event.old.name.lower(), "shadow_to": event.new.name.lower()}
            log.info(shadow_line(event), shadow_of=event.name, **states)
        elif isinstance(event, EventsLost):  # pragma: no branch - nothing else is emitted
            log.warning("transitions of shadow policies were not logged", count=event.count)


def _log(log: structlog.typing.FilteringBoundLogger, event: Transition) -> None:
    write = log.warning if event.new in VERBS else log.info
    write(
        transition_line(event),
        **{
            **event.context,
            "breaker": event.name,
            "old": event.old.name,
            "new": event.new.name,
            "reason": event.reason,
            "generation": event.generation,
            "retry_after": event.retry_after,
        },
    )
