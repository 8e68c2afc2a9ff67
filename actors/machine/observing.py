"""Observing: every call is admitted, and a shadow machine decides what it would have done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ..messages import Outcome, Permit, Rejection, Source, Transition
from ..policy.config import CircuitBreakerConfig
from .states import NextState, StateBehavior
from .statistics import Statistics


class Shadow(Protocol):
    """The part of a machine that the OBSERVING state uses: see Machine."""

    generation: int

    @property
    def failure_count(self) -> int:
        """The failures that its trip strategy counts now."""

    @property
    def slow_count(self) -> int:
        """The slow calls that its trip strategy counts now."""

    @property
    def deadline(self) -> float | None:
        """When `wake` next changes something by itself; None: never."""

    def admit(self, now: float, *, source: Source | None = None) -> Permit | Rejection:
        """A permit for one call, or a falsy Rejection."""

    def settle(self, permit: Permit, outcome: Outcome, now: float, duration: float | None = None) -> bool:
        """Count the end of a permitted call."""

    def answered(self, permit: Permit, now: float, duration: float | None = None) -> None:
        """The dependency has answered a call that goes on."""

    def fail_again(self, permit: Permit, now: float) -> bool:
        """One failure more of a call that was settled before its end."""

    def wake(self, now: float) -> None:
        """Let time pass until `now`."""

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place."""

    def drain(self) -> list[Transition]:
        """The transitions since the last call of this method."""


def shadow_policy(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    """The policy of a shadow: it has no task that could run a probe, so callers' calls are its probes.

    It has no shadow of its own.
    """
    return replace(config, probe=None, probe_interval=None, shadow=None)


class Observing(StateBehavior):
    """Passes every call to a shadow, and records its transitions, marked as observed."""

    __slots__ = ("_newest", "_older", "_permits", "_probes", "_record", "_shadow", "_statistics")

    def __init__(self, shadow: Shadow, statistics: Statistics, record: Callable[[Transition], None]) -> None:
        self._shadow = shadow
        self._statistics = statistics
        self._record = record
        self._permits: dict[int, Permit] = {}
        # By call: the shadow's probes that have succeeded, and may fail later.
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
        """The shadow's deadline."""
        return self._shadow.deadline

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """Pass the call to the shadow too, and count the calls that it would reject."""
        self._newest = number
        permit = self._shadow.admit(now, source=source)
        if isinstance(permit, Permit):
            self._permits[number] = permit
        else:
            self._statistics.would_reject += 1
        self._record_transitions()

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> NextState | None:
        """Pass the outcome to the shadow, if the shadow admitted the call."""
        permit = self._permits.pop(number, None)
        if permit is not None:
            if permit.probe and outcome is Outcome.SUCCESS:
                self._probes[number] = permit
            self._shadow.settle(permit, outcome, now, duration)
            self._record_transitions()
        return None

    def answer(self, permit: Permit, now: float, duration: float | None) -> NextState | None:
        """Pass the answer to the shadow, if the shadow admitted the call."""
        shadows = self._permits.get(permit.number)
        if shadows is not None:
            self._shadow.answered(shadows, now, duration)
            self._record_transitions()
        return None

    def fail_again(self, number: int, now: float) -> NextState | None:
        """One failure more in the shadow, if its state hasn't changed since the call began."""
        if number > self._older:
            # Closed, it counts any failure; half-open, only that of a probe, which has a number.
            permit = self._probes.pop(number, None) or Permit(self._shadow.generation, 0)
            self._shadow.fail_again(permit, now)
            self._record_transitions()
        return None

    def release(self, number: int, now: float) -> None:
        """Settle the call in the shadow as cancelled."""
        self.settle(number, Outcome.CANCELLED, now, None)

    def wake(self, now: float) -> NextState | None:
        """Let time pass in the shadow."""
        self._shadow.wake(now)
        self._record_transitions()
        return None

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Give the shadow the policy too."""
        self._shadow.configure(shadow_policy(config), now)

    def _record_transitions(self) -> None:
        for event in self._shadow.drain():
            self._older = self._newest
            self._probes.clear()
            self._record(replace(event, observed=True))
