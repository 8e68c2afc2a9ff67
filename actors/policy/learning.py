"""The interface of trip strategies that learn: they own their wait, and the growth of admission after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..messages import Learned
    from .trip import TripCounter


class Learning(ABC):
    """What one breaker has learned. It outlives the states of the breaker, but not a crash of its actor."""

    __slots__ = ()

    successes_to_close: int
    """The probes that must succeed in a row, at least."""

    @abstractmethod
    def counter(self, now: float, *, recovered: bool) -> TripCounter:
        """The counter of a stay in CLOSED that begins at `now`. recovered: it comes after a recovery."""

    @abstractmethod
    def opened(self, now: float) -> None:
        """The breaker leaves CLOSED for OPEN at `now`: by its own verdict, or by another's.

        An operator's command and an opening by sharing come here too. Calls that were not yet learned are
        then forgotten: they belong to an incident.
        """

    @abstractmethod
    def wait(self, now: float) -> float:
        """Seconds from `now` until the next probe."""

    @property
    @abstractmethod
    def tolerated(self) -> float:
        """The share of bad calls up to which admission grows after a recovery."""

    @property
    @abstractmethod
    def break_even(self) -> float:
        """The share of bad calls from which on rejecting loses less than sending."""

    @abstractmethod
    def unlimited(self, now: float) -> None:
        """All calls are admitted from `now` on: the traffic is again worth learning from."""

    @abstractmethod
    def inherit_from(self, older: Learning) -> None:
        """Take over what `older` has learned, after a change of the policy."""

    @abstractmethod
    def learned(self) -> Learned:
        """What it has learned, for observers."""
