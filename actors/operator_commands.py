"""The commands by which an operator or a program sets a breaker's state and policy."""

from __future__ import annotations

from .call.accounting import CallAccounting
from .commands import Configure, ForceState, Reset, Trip
from .messages import State
from .policy.config import CircuitBreakerConfig


class OperatorCommands(CallAccounting):
    """Part of CircuitBreaker: each command is a message that the actor answers when it is in force."""

    __slots__ = ()

    async def trip(self, reason: str = "tripped by operator") -> None:
        """Open now; while open, the wait starts again.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self.mailbox.ask(Trip(reason))

    async def reset(self, reason: str = "reset by operator") -> None:
        """Close now, from any state, with counters and backoff cleared.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self.mailbox.ask(Reset(reason))

    async def force_open(self, reason: str = "forced by operator") -> None:
        """Reject every call until `reset`, `trip`, `disable` or `observe`.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self.mailbox.ask(ForceState(State.FORCED_OPEN, reason))

    async def disable(self, reason: str = "disabled by operator") -> None:
        """Admit every call and record none. The bulkhead and `call_timeout` still hold.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self.mailbox.ask(ForceState(State.DISABLED, reason))

    async def observe(self, reason: str = "observed by operator") -> None:
        """Admit every call, record, and report in events and counters what it would have done.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self.mailbox.ask(ForceState(State.OBSERVING, reason))

    async def configure(self, config: CircuitBreakerConfig) -> None:
        """Take a new policy in place, as one message: state, window and generation stay.

        Calls that run keep their timeout and place. In force when it returns: not cancelled for that moment.
        Raises ValueError if the name differs, and PanelClosedError.
        """
        if config.name != self.name:
            raise ValueError(f"name must stay {self.name!r}, got {config.name!r}")
        # A strategy whose counter can't be made fails here, not in the actor.
        config.strategy.counter()
        if config.shadow_config is not None:
            config.shadow_config.strategy.counter()
        await self.mailbox.ask(Configure(config))
