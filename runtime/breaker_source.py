"""Breakers as they are looked at: one panel's, or those of several processes together."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from actors import CircuitBreaker
from actors.events import Subscription
from actors.messages import Snapshot


class BreakerSource(Protocol):
    """What pages, metrics and recorders need of a panel."""

    async def snapshots(self) -> dict[str, Snapshot]:
        """A snapshot of each breaker by name. Raises PanelClosedError."""

    def events(self, buffer: int = 1000) -> AbstractAsyncContextManager[Subscription]:
        """Every transition from now on."""

    def __getitem__(self, name: str) -> CircuitBreaker:
        """Raises KeyError with the name."""
