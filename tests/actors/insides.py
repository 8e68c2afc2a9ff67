"""Ways to a breaker's actor and machine, which no public name leads to."""

from __future__ import annotations

from actors import CircuitBreaker, Machine
from actors.breaker_actor import BreakerActor
from actors.panel.opening import OPEN_PANELS


def actor_of(breaker: CircuitBreaker) -> BreakerActor:
    """The actor of a breaker of a panel that is open in this trio.run."""
    entries = [panel._entries[breaker.name] for panel in OPEN_PANELS.get() if breaker.name in panel]
    return next(entry.actor for entry in entries if entry.breaker is breaker)


class BrokenMachine(Machine):
    """Raises once, before it does anything with the next message."""

    __slots__ = ()

    def wake(self, now: float) -> None:
        self.__class__ = Machine  # type: ignore[assignment]
        raise RuntimeError(f"broken on purpose at {now}")


def crash_next(breaker: CircuitBreaker) -> None:
    """Have the actor crash at its next message."""
    actor_of(breaker)._machine.__class__ = BrokenMachine
