"""The half-open state: a few probes are admitted, and their results close or open the breaker. Pure."""

from __future__ import annotations

from collections.abc import Hashable

from ..messages import NEVER, RETRY_SOON, Outcome, Permit, Rejection, RejectReason, Source, State
from ..policy.config import CircuitBreakerConfig
from .probe_turns import ProbeTurns
from .states import NextState, StateBehavior

RECOVERED = NextState(State.CLOSED, "recovery successful", recovery=True)
UNUSED_LEASE = "no probe within the lease"
GIVEN_BACK = "another instance probes"
NEWS_SECONDS = 3.0
"""Seconds for which news of a shared opening is good: without more, an instance recovers by itself."""


class HalfOpen(StateBehavior):
    """Admits probes; their outcomes decide.

    lease_end: no probe outlasts it; None: this instance probes without a lease.
    """

    __slots__ = (
        "_config",
        "_failures",
        "_free_since",
        "_least",
        "_passes",
        "_probes",
        "_turns",
        "answered",
        "lease_end",
    )

    def __init__(
        self,
        config: CircuitBreakerConfig,
        now: float,
        failed_route: Hashable | None = None,
        least_successes: int = 1,
    ) -> None:
        self._turns = ProbeTurns(now, failed_route)
        self._config = config
        self.lease_end: float | None = None
        self._least = least_successes
        # The probes that have passed: one of them may still fail, and only once.
        self._passes: set[int] = set()
        self._failures = 0
        self._free_since = now
        self._probes: dict[int, float] = {}
        self.answered: set[Permit] | None = None

    @property
    def is_probing(self) -> bool:
        """Whether a probe runs that hasn't answered."""
        return bool(self._probes)

    @property
    def failed_route(self) -> Hashable | None:  # type: ignore[override]
        """The route of the probe that has failed and ended this state."""
        return self._turns.failed_route

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        """When the first probe has taken too long, or the lease ends."""
        first = min(self._probes.values(), default=NEVER)
        if self.lease_end is not None:
            first = min(first, self.lease_end)
        return None if first == NEVER else first

    def check_admission(
        self, now: float, is_active_probe: bool, source: Source | None = None
    ) -> Rejection | None:
        """Reject if enough probes run, if the next is kept for others, or if the policy has a `probe`."""
        is_foreign = self._config.probe is not None and not is_active_probe
        if self._is_full or is_foreign or self._turns.is_kept_from(source, now):
            deadline = self.deadline
            wait = RETRY_SOON if deadline is None else min(RETRY_SOON, deadline - now)
            return Rejection(State.HALF_OPEN, RejectReason.PROBING, wait)
        return None

    @property
    def _is_full(self) -> bool:
        places = self._config.half_open_max_calls
        if self._config.half_open_failure_rate is not None:
            places -= self._ended
        return len(self._probes) >= places

    @property
    def _ended(self) -> int:
        return len(self._passes) + self._failures

    def admits_at(self, now: float) -> float:
        """When a place has been free for RETRY_SOON: until then waiting tasks leave it to other callers."""
        if self._is_full or self._config.probe is not None:
            return NEVER
        return max(now, self._free_since + RETRY_SOON)

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """Note a probe and its timeout."""
        timeout = self._config.probe_timeout
        latest = NEVER if self.lease_end is None else self.lease_end
        self._probes[number] = latest if timeout is None else min(latest, now + timeout)
        self._turns.admitted(number, source)

    def is_outstanding(self, permit: Permit) -> bool:
        """Whether the probe wasn't settled before."""
        return permit.number in self._probes

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> NextState | None:
        """Judge a probe; a neutral outcome only frees its slot. A probe that had answered can only fail."""
        answered = self._probes.pop(number, None) is None
        self._free_since = now
        if outcome is Outcome.FAILURE:
            return self.fail_again(number, now) if answered else self._failed(number)
        if answered:
            return None
        if outcome is Outcome.SUCCESS:
            return self._passed(number, now, duration)
        if outcome is Outcome.CANCELLED:
            self._turns.cancelled(number, now)
        else:
            self._turns.forget(number)
        return None

    def answer(self, permit: Permit, now: float, duration: float | None) -> NextState | None:
        """Judge a probe before its end: its slot becomes free, and it no longer times out."""
        if self._probes.pop(permit.number, None) is None:
            return None
        self._free_since = now
        self.answered = self.answered or set()
        self.answered.add(permit)
        return self._passed(permit.number, now, duration)

    def _passed(self, number: int, now: float, duration: float | None) -> NextState | None:
        threshold = self._config.strategy.slow_threshold
        if threshold is not None and duration is not None and duration >= threshold:
            return self._failed(number)
        self._passes.add(number)
        if self._config.half_open_failure_rate is not None:
            return self._judge()
        if len(self._passes) < max(self._least, self._config.successes_to_close):
            return None
        return RECOVERED

    def release(self, number: int, now: float) -> None:
        """Free the slot."""
        self._probes.pop(number, None)
        self._free_since = now
        self._turns.forget(number)

    def fail_again(self, number: int, now: float) -> NextState | None:
        """Judge a probe that had passed as failed. Any other call changes nothing."""
        if number not in self._passes:
            return None
        self._passes.remove(number)
        return self._failed(number)

    def _failed(self, number: int) -> NextState | None:
        """Note a failed probe. It ends the recovery, unless a rate judges it."""
        self._turns.failed(number)
        if self._config.half_open_failure_rate is None:
            return NextState(State.OPEN, "recovery failed", recovery=True)
        self._failures += 1
        return self._judge()

    def _judge(self) -> NextState | None:
        """Judge by the rate: failed as soon as enough probes have failed, recovered when all have ended."""
        rate, probes = self._config.half_open_failure_rate, self._config.half_open_max_calls
        if rate is None:
            return None
        if self._failures / max(probes, self._ended) >= rate:
            return NextState(State.OPEN, "recovery failed", recovery=True)
        return RECOVERED if self._ended >= probes else None

    def wake(self, now: float) -> NextState | None:
        """Fail the probes whose timeout has passed. Without a probe, the end of the lease ends this state."""
        next_state = None
        while next_state is None and self.deadline is not None and now >= self.deadline:
            if not self._probes:
                return NextState(State.OPEN, UNUSED_LEASE, wait=NEWS_SECONDS)
            overdue = min(self._probes, key=self._probes.__getitem__)
            del self._probes[overdue]
            next_state = self._failed(overdue)
        if next_state is not None and next_state.state is State.OPEN:
            return next_state._replace(reason="recovery timed out")
        # A new policy may want fewer probes than have ended.
        return next_state or self._judge()

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy. Running probes keep their timeout."""
        self._config = config
