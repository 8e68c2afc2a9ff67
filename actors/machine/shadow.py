"""A policy in shadow: a machine that gets the outcomes of the real calls, and decides about none of them.

What the shadow sees, and what its counts mean:

- A call that the breaker lets through is offered to the shadow too. If the shadow would admit it, its end
  counts in the shadow as in any breaker. If not, its end is only counted: that call would have been lost, or
  spared. The shadow may not learn from it, since a breaker with that policy would not have seen it.
- A call that the breaker rejects has no end. The shadow learns nothing from it; it is counted as unseen.
- When the shadow's wait is over, the next calls that the breaker lets through are its probes. While the
  breaker rejects all calls, the shadow stays half-open, since no call shows how its probe would end.
- An operator's `reset` clears the shadow too: what was counted is about an earlier time. Other commands
  and what other instances share are no verdicts of a policy, so the shadow doesn't follow them.

An exception of the shadow's strategy stops the shadow, and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..messages import (
    UNSEEN,
    Learned,
    Outcome,
    Permit,
    Rejection,
    RejectReason,
    ShadowSnapshot,
    Source,
    State,
    Transition,
)
from ..policy.config import CircuitBreakerConfig
from .observing import Shadow
from .statistics import Statistics

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")

ENDS = (*(outcome.value for outcome in Outcome), UNSEEN)
"""How a call may end, as the shadow counts it."""
WOULD_REJECT = Rejection(State.OPEN, RejectReason.OPEN, 0.0)
"""The answer of an open shadow to every call that a gate admits."""


class ShadowMachine(Shadow, Protocol):
    """The part of a machine that a policy in shadow uses: see Machine."""

    config: CircuitBreakerConfig
    state: State
    statistics: Statistics

    @property
    def admits_all(self) -> bool:
        """Whether every call is admitted without a message."""

    @property
    def batches_successes(self) -> bool:
        """Whether callers may count successes on the gate."""

    @property
    def is_probing(self) -> bool:
        """Whether a probe of the half-open breaker runs."""

    @property
    def until(self) -> float:
        """The time until which calls are rejected; -inf if they are not."""

    @property
    def learned(self) -> Learned | None:
        """What its strategy has learned."""

    def next_roll(self, now: float) -> float | None:
        """When batched successes must be folded."""

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        now: float,
        duration: float | None = None,
        *,
        retry_after: float | None = None,
    ) -> bool:
        """Count the end of a permitted call."""

    def release(self, permit: Permit, now: float) -> None:
        """Take back the permit of a call that never began."""

    def fold(
        self, started: int, successes: int, ignored: int, cancelled: int, since: float, *, late: bool = False
    ) -> None:
        """Count the calls that callers counted on a gate."""

    def reset(self, now: float, reason: str = "reset by operator") -> None:
        """Close now."""


def _harmless(
    default: D,
) -> Callable[[Callable[Concatenate[ShadowBreaker, P], T]], Callable[Concatenate[ShadowBreaker, P], T | D]]:
    """An exception of the method stops the shadow. A stopped shadow does nothing, and returns `default`."""

    def decorate(
        method: Callable[Concatenate[ShadowBreaker, P], T],
    ) -> Callable[Concatenate[ShadowBreaker, P], T | D]:
        @functools.wraps(method)
        def run(self: ShadowBreaker, /, *args: P.args, **kwargs: P.kwargs) -> T | D:
            if self.failure is not None:
                return default
            try:
                return method(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - a strategy on trial may raise anything
                self.failure = error
                return default

        return run

    return decorate


class ShadowBreaker:
    """Runs the machine of a shadow policy, and counts what it would have done.

    failure: the exception that has stopped it; None: it works. An `answer` is that of `admit`.
    """

    __slots__ = ("_calls", "_is_reported", "_machine", "failure")

    def __init__(self, machine: ShadowMachine) -> None:
        self._machine = machine
        self._calls = {verdict: dict.fromkeys(ENDS, 0) for verdict in ("admitted", "rejected")}
        self._is_reported = False
        self.failure: Exception | None = None

    # Calls.

    @_harmless(None)
    def admit(self, now: float, source: Source | None) -> Permit | Rejection | None:
        """What the shadow would do with a call that the breaker admits. None: it has stopped."""
        return self._machine.admit(now, source=source)

    def gate_answer(self) -> Permit | Rejection | None:
        """The answer to every call that a gate admits, in the shadow's present state; None: stopped."""
        if self.failure is not None:
            return None
        return WOULD_REJECT if self._is_open else Permit(self._machine.generation, 0)

    @property
    def _is_open(self) -> bool:
        return self._machine.state is State.OPEN

    @_harmless(None)
    def settle(
        self,
        answer: Permit | Rejection,
        outcome: Outcome,
        now: float,
        duration: float | None,
        retry_after: float | None,
    ) -> None:
        """Count the end of a call."""
        self._count(answer, outcome)
        if isinstance(answer, Permit):
            self._machine.settle(answer, outcome, now, duration, retry_after=retry_after)

    @_harmless(None)
    def answered(self, answer: Permit | Rejection, now: float, duration: float | None) -> None:
        """The dependency has answered a call that goes on."""
        if isinstance(answer, Permit):
            self._machine.answered(answer, now, duration)

    @_harmless(None)
    def fail_again(self, answer: Permit | Rejection, now: float) -> None:
        """One failure more of a call that was settled before its end."""
        self._count(answer, Outcome.FAILURE)
        if isinstance(answer, Permit):
            self._machine.fail_again(answer, now)

    @_harmless(None)
    def release(self, answer: Permit | Rejection, now: float) -> None:
        """Take back the answer to a call that never began."""
        if isinstance(answer, Permit):
            self._machine.release(answer, now)

    @_harmless(None)
    def fold(
        self,
        answer: Permit | Rejection,
        started: int,
        successes: int,
        ignored: int,
        cancelled: int,
        since: float,
    ) -> None:
        """Count the calls that callers counted on a gate, each of which got `answer`."""
        self._count(answer, Outcome.SUCCESS, successes)
        self._count(answer, Outcome.IGNORED, ignored)
        self._count(answer, Outcome.CANCELLED, cancelled)
        if isinstance(answer, Permit):
            late = answer.generation != self._machine.generation
            self._machine.fold(started, successes, ignored, cancelled, since, late=late)

    @_harmless(None)
    def missed(self, count: int) -> None:
        """Count calls that the breaker rejects."""
        would_reject = self._is_open or self._machine.is_probing
        self._calls["rejected" if would_reject else "admitted"][UNSEEN] += count

    def _count(self, answer: Permit | Rejection, outcome: Outcome, count: int = 1) -> None:
        self._calls["admitted" if isinstance(answer, Permit) else "rejected"][outcome] += count

    # Time, commands, policy.

    @_harmless(None)
    def wake(self, now: float) -> None:
        """Let time pass until `now`."""
        self._machine.wake(now)

    @_harmless(None)
    def reset(self, now: float, reason: str) -> None:
        """Close now."""
        self._machine.reset(now, reason)

    @_harmless(None)
    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place. State and counts stay."""
        self._machine.configure(config, now)

    # For the actor.

    @_harmless(None)
    def deadline(self) -> float | None:
        """When `wake` next changes something by itself; None: never."""
        return self._machine.deadline

    @_harmless(True)
    def admits_all(self) -> bool:
        """Whether the shadow would do the same with every call, so that none needs a message."""
        return self._is_open or self._machine.admits_all

    @_harmless(True)
    def batches_successes(self) -> bool:
        """Whether successes may be counted on the gate."""
        return self._is_open or self._machine.batches_successes

    @_harmless(None)
    def next_roll(self, now: float) -> float | None:
        """When batched successes must be folded; None: never."""
        return self._machine.next_roll(now)

    def drain(self) -> list[Transition]:
        """The transitions since the last call of this method."""
        return self._machine.drain()

    def take_failure(self) -> Exception | None:
        """The exception that has stopped it, at the first call of this method after that."""
        if self._is_reported:
            return None
        self._is_reported = self.failure is not None
        return self.failure

    def snapshot(self, now: float) -> ShadowSnapshot:
        """Everything at `now`."""
        machine = self._machine
        found = ShadowSnapshot(
            state=machine.state,
            reason=machine.statistics.last_reason,
            failure_count=self._failure_count() or 0,
            retry_after=machine.until - now if machine.state is State.OPEN else None,
            transitions=dict(machine.statistics.transitions or {}),
            calls=self._copied_calls(),
            learned=self._learned(),
        )
        failure = self.failure
        if failure is None:
            return found
        return replace(found, retry_after=None, stopped=f"{type(failure).__name__}: {failure}")

    @_harmless(None)
    def _failure_count(self) -> int:
        return self._machine.failure_count

    @_harmless(None)
    def _learned(self) -> Learned | None:
        return self._machine.learned

    def _copied_calls(self) -> Mapping[str, Mapping[str, int]]:
        return {verdict: dict(ends) for verdict, ends in self._calls.items()}
