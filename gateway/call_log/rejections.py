"""Notes the calls that a breaker rejects. Admitted ones are events of the breaker already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors import CallRejected, CircuitBreaker, Source
from actors.call.guard import Guard


class RejectionObserver:
    """A breaker whose guards note their rejections; all other attributes are the breaker's own.

    note: called with the breaker's name. Only guards are observed: the gateway makes its calls by them.
    """

    def __init__(self, breaker: CircuitBreaker, note: Callable[[str], None]) -> None:
        self._breaker = breaker
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._breaker, name)

    def guard(self, *, source: Source | None = None) -> Guard:
        """As CircuitBreaker.guard."""
        return _ObservedGuard(self._breaker, source, self._note)


class _ObservedGuard(Guard):
    """A guard that notes its rejection."""

    __slots__ = ("_note_rejection",)

    def __init__(self, breaker: CircuitBreaker, source: Source | None, note: Callable[[str], None]) -> None:
        super().__init__(breaker, source)
        self._note_rejection = note

    async def enter(self) -> None:
        """As Guard.enter."""
        try:
            await super().enter()
        except CallRejected:
            self._note_rejection(self.breaker.name)
            raise
