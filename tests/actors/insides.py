"""Ways to a breaker's actor, which no public name leads to."""

from __future__ import annotations

from actors import CircuitBreaker
from actors.breaker_actor import BreakerActor
from actors.panel.opening import OPEN_PANELS


def actor_of(breaker: CircuitBreaker) -> BreakerActor:
    """The actor of a breaker of a panel that is open in this trio.run."""
    entries = [panel._entries[breaker.name] for panel in OPEN_PANELS.get() if breaker.name in panel]
    return next(entry.actor for entry in entries if entry.breaker is breaker)
