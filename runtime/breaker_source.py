"""The read-only view of breakers: of one panel, or merged from several processes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from actors import CircuitBreaker
from actors.events import Subscription
from actors.messages import Snapshot


class BreakerSource(Protocol):
    """The part of a Panel that pages, metrics and recorders use."""

    async def snapshots(self) -> dict[str, Snapshot]:
        """Return a snapshot of each breaker, by name. Raises PanelClosedError."""

    def events(self, buffer: int = 1000) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe to all transitions from now on. buffer: events; older ones are dropped."""

    def __getitem__(self, name: str) -> CircuitBreaker:
        """Return a breaker. Raises KeyError."""
