"""The half-open state: a few probes are let through, and their verdict closes or opens the breaker. Pure."""

from __future__ import annotations

from collections.abc import Hashable

from actors.config import CircuitBreakerConfig
from actors.stays import NEVER, Move, Stay
from actors.turns import ProbeTurns
from protocols.breaker import Outcome, Permit, Rejection, RejectReason, Source, State


class HalfOpen(Stay):
    """Lets probes through, and goes by their verdict."""

    __slots__ = ("_config", "_probes", "_successes", "_turns", "answered")

    def __init__(
        self, config: CircuitBreakerConfig, now: float, failed_route: Hashable | None = None
    ) -> None:
        self._turns = ProbeTurns(now, failed_route)
        self._config = config
        self._successes = 0
        self._probes: dict[int, float] = {}
        self.answered: set[Permit] | None = None

    @property
    def failed_route(self) -> Hashable | None:  # type: ignore[override]
        """That of the probe that has ended this stay."""
        return self._turns.failed_route

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        """When the first probe has taken too long."""
        first = min(self._probes.values(), default=NEVER)
        return None if first == NEVER else first

    def refuse(self, now: float, own_probe: bool, source: Source | None = None) -> Rejection | None:
        """Where enough probes run, where it is others' turn, and always where the breaker itself probes."""
        full = len(self._probes) >= self._config.half_open_max_calls
        not_theirs = self._config.probe is not None and not own_probe
        if full or not_theirs or self._turns.refuses(source, now):
            return Rejection(State.HALF_OPEN, RejectReason.PROBING, None)
        return None

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """A probe is out."""
        timeout = self._config.half_open_timeout
        self._probes[number] = NEVER if timeout is None else now + timeout
        self._turns.admitted(number, source)

    def holds(self, permit: Permit) -> bool:
        """Not one that was settled before."""
        return permit.number in self._probes

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> Move | None:
        """The verdict; a neutral outcome only frees the slot. A probe that had answered can only fail."""
        answered = self._probes.pop(number, None) is None
        if outcome is Outcome.FAILURE:
            return self.fail_again(number, now)
        if answered:
            return None
        if outcome is Outcome.SUCCESS:
            return self._passed(number, now, duration)
        if outcome is Outcome.CANCELLED:
            self._turns.cancelled(number, now)
        else:
            self._turns.forget(number)
        return None

    def answer(self, permit: Permit, now: float, duration: float | None) -> Move | None:
        """The verdict, before the call's end: its slot is free, and no timeout ends it any more."""
        if self._probes.pop(permit.number, None) is None:
            return None
        self.answered = self.answered or set()
        self.answered.add(permit)
        return self._passed(permit.number, now, duration)

    def _passed(self, number: int, now: float, duration: float | None) -> Move | None:
        threshold = self._config.strategy.slow_threshold
        if threshold is not None and duration is not None and duration >= threshold:
            return self.fail_again(number, now)
        self._successes += 1
        if self._successes < self._config.successes_to_close:
            return None
        return Move(State.CLOSED, "recovery successful", recovery=True)

    def take_back(self, number: int, now: float) -> None:
        """The slot is free again."""
        self._probes.pop(number, None)
        self._turns.forget(number)

    def fail_again(self, number: int, now: float) -> Move | None:
        """One failure ends the recovery."""
        self._turns.failed(number)
        return Move(State.OPEN, "recovery failed", recovery=True)

    def wake(self, now: float) -> Move | None:
        """A probe that takes too long has failed."""
        if self.deadline is None or now < self.deadline:
            return None
        self._turns.failed(min(self._probes, key=self._probes.__getitem__))
        return Move(State.OPEN, "recovery timed out", recovery=True)

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Probes under way keep their timeout."""
        self._config = config
