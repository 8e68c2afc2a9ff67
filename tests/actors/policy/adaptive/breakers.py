"""An adaptive machine, and calls through it."""

from __future__ import annotations

from actors import Adaptive, CircuitBreakerConfig, Learned, Machine, Outcome, Permit, Rejection, State


class Breaker:
    """A machine with an Adaptive strategy, and a clock. Each call comes `gap` seconds after the last."""

    def __init__(self, gap: float = 1.0, trip: Adaptive | None = None, **policy: object) -> None:
        config = CircuitBreakerConfig(name="it", trip=trip or Adaptive(), **policy)  # type: ignore[arg-type]
        self.machine = Machine(config)
        self.gap = gap
        self.now = 0.0

    def call(self, outcome: Outcome = Outcome.SUCCESS, takes: float = 0.0) -> bool:
        """One call, settled at once; whether it was admitted."""
        self.now += self.gap
        permit = self.machine.admit(self.now)
        if isinstance(permit, Rejection):
            return False
        self.machine.settle(permit, outcome, self.now + takes)
        self.now += takes
        return True

    def good(self, calls: int) -> int:
        """So many successes; the number admitted."""
        return sum(self.call() for _ in range(calls))

    def bad(self, calls: int) -> int:
        """So many failures; the number admitted."""
        return sum(self.call(Outcome.FAILURE) for _ in range(calls))

    def bad_until_open(self, most: int = 200) -> int:
        """Failures until it isn't closed any more, and their number."""
        for failed in range(most):
            if self.state is not State.CLOSED:
                return failed
            self.call(Outcome.FAILURE)
        return most

    def mixed(self, calls: int, every: int) -> None:
        """Calls of which each `every`th fails."""
        for n in range(calls):
            self.call(Outcome.FAILURE if n % every == every - 1 else Outcome.SUCCESS)

    def admit(self) -> Permit | Rejection:
        """A permit at the present time."""
        return self.machine.admit(self.now)

    def settle(self, permit: Permit | Rejection, outcome: Outcome = Outcome.SUCCESS) -> None:
        """The end of a call that was admitted."""
        assert isinstance(permit, Permit)
        self.machine.settle(permit, outcome, self.now)

    def until_half_open(self) -> float:
        """Let the wait pass; its length."""
        assert self.state is State.OPEN
        deadline = self.machine.deadline
        assert deadline is not None
        waited, self.now = deadline - self.now, deadline
        self.machine.wake(self.now)
        assert self.state is State.HALF_OPEN
        return waited

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def learned(self) -> Learned:
        learned = self.machine.snapshot(self.now).learned
        assert learned is not None
        return learned
