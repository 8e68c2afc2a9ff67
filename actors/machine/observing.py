"""Observing: every call is admitted, and a shadow machine says what it would have done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..messages import Outcome, Permit, Source, Transition
from ..policy.config import CircuitBreakerConfig
from .states import NextState, StateBehavior
from .statistics import Statistics

if TYPE_CHECKING:
    from .machine import Machine


def shadow_policy(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    """A shadow has no task to run a probe of its own with: it goes by what callers see."""
    return replace(config, probe=None, probe_interval=None)


class Observing(StateBehavior):
    """Feeds a shadow, and hands on its transitions, marked as observed."""

    __slots__ = ("_hand_on", "_newest", "_older", "_permits", "_probes", "_shadow", "_statistics")

    def __init__(
        self, shadow: Machine, statistics: Statistics, hand_on: Callable[[Transition], None]
    ) -> None:
        self._shadow = shadow
        self._statistics = statistics
        self._hand_on = hand_on
        self._permits: dict[int, Permit] = {}
        # The shadow's probes that have succeeded, and may fail later.
        self._probes: dict[int, Permit] = {}
        # The last call admitted, and the last before the shadow's present generation.
        self._newest = self._older = 0

    @property
    def failure_count(self) -> int:  # type: ignore[override]
        """The shadow's count."""
        return self._shadow.failure_count

    @property
    def slow_count(self) -> int:  # type: ignore[override]
        """The shadow's count."""
        return self._shadow.slow_count

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        """The shadow's."""
        return self._shadow.deadline

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """Ask the shadow too, and count the calls that it would reject."""
        self._newest = number
        answer = self._shadow.admit(now, source=source)
        if isinstance(answer, Permit):
            self._permits[number] = answer
        else:
            self._statistics.would_reject += 1
        self._tell()

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> NextState | None:
        """Pass it on to the shadow, if that admitted the call."""
        permit = self._permits.pop(number, None)
        if permit is not None:
            if permit.probe and outcome is Outcome.SUCCESS:
                self._probes[number] = permit
            self._shadow.settle(permit, outcome, now, duration)
            self._tell()
        return None

    def answer(self, permit: Permit, now: float, duration: float | None) -> NextState | None:
        """Pass it on to the shadow, if that admitted the call."""
        shadows = self._permits.get(permit.number)
        if shadows is not None:
            self._shadow.answered(shadows, now, duration)
            self._tell()
        return None

    def fail_again(self, number: int, now: float) -> NextState | None:
        """One failure more in the shadow, where it is in the stay in which it saw the call begin."""
        if number > self._older:
            # Closed, it counts any failure; half-open, only that of a probe, which has a number.
            permit = self._probes.pop(number, None) or Permit(self._shadow.generation, 0)
            self._shadow.fail_again(permit, now)
            self._tell()
        return None

    def release(self, number: int, now: float) -> None:
        """As a call that was cancelled."""
        self.settle(number, Outcome.CANCELLED, now, None)

    def wake(self, now: float) -> NextState | None:
        """Time passes in the shadow."""
        self._shadow.wake(now)
        self._tell()
        return None

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """The shadow gets the policy too."""
        self._shadow.configure(shadow_policy(config), now)

    def _tell(self) -> None:
        for event in self._shadow.drain():
            self._older = self._newest
            self._probes.clear()
            self._hand_on(replace(event, observed=True))
