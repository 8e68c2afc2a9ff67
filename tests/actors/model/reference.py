"""A circuit breaker that is slow and plainly right: it keeps every event, and judges by all of them.

Written from the rules, not from the code that it is compared with. Callers pass the time.
"""

from __future__ import annotations

from dataclasses import replace

from actors import CircuitBreakerConfig, Outcome, RejectReason, Source, State
from tests.actors.model.counting import CountedCall
from tests.actors.model.reference_probes import ReferenceProbes
from tests.actors.model.reference_state import Admission, Exclusion, ModelRejection


def unprobed(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    """The policy of a shadow, which has no probe of its own."""
    return replace(config, probe=None, probe_interval=None)


class Reference(ReferenceProbes):
    """The model."""

    # The passing of time.

    def wake(self, now: float) -> None:
        """Make every change that is due."""
        if self.state is State.OPEN and self.until is not None and now >= self.until:
            self._half_open(now)
        elif self.state is State.HALF_OPEN:
            self._wake_probes(now)
        elif self.state is State.CLOSED:
            self._wake_closed(now)
        elif self.shadow is not None:
            self.shadow.wake(now)

    def end_wait(self, now: float) -> None:
        """The breaker's own probe has passed."""
        self.wake(now)
        if self.state is State.OPEN:
            self._half_open(now)

    def time_out(self, now: float) -> list[int]:
        """Calls past `call_timeout`, each counted as a failure at this instant."""
        timeout = self.config.call_timeout
        over = []
        for number, each in list(self.passes.items()):
            if timeout is not None and now >= each.began + timeout and not each.answered:
                over.append(number)
                self.settle(number, Outcome.FAILURE, now, duration=timeout)
        return over

    def _wake_closed(self, now: float) -> None:
        if self.ramp is not None and now >= sum(self.ramp):
            self.ramp = None
        threshold = self.config.strategy.slow_threshold
        if not self.config.in_flight_slow or threshold is None:
            return
        for number, each in list(self.passes.items()):
            if each.generation != self.generation or each.slow_from is not None or each.passed:
                continue
            if now >= each.began + threshold:
                self.passes[number] = each._replace(slow_from=now - each.began)
                self.heard.append(CountedCall(now, False, now - each.began, running=True))
                if self._trips(now):
                    self._open(now, None)
                    return

    # Callers.

    def admit(self, number: int, now: float, source: Source | None = None) -> ModelRejection | None:
        """Request admission for call `number`. None: the call is admitted."""
        self.wake(now)
        refused = self._refused(now, source)
        if refused is not None:
            self.rejections[refused.reason] += 1
            return refused
        ends = float("inf")
        if self.state is State.HALF_OPEN and self.config.half_open_timeout is not None:
            ends = now + self.config.half_open_timeout
        self.passes[number] = Admission(self.generation, self.state, now, ends, source=source)
        self.kept_client = Exclusion()
        if self.shadow is not None:
            self.would_reject += self.shadow.admit(number, now, source) is not None
        return None

    def answer(self, number: int, now: float) -> None:
        """Call `number` has been answered, and goes on."""
        self.wake(now)
        leave = self.passes[number]
        self.passes[number] = leave._replace(answered=True)
        if self.shadow is not None and number in self.shadow.passes:
            self.shadow.answer(number, now)
        if self.state is not State.HALF_OPEN or leave.generation != self.generation or leave.passed:
            return
        threshold = self.config.strategy.slow_threshold
        slow = threshold is not None and now - leave.began >= threshold
        self.passes[number] = leave._replace(
            answered=True, passed=True, failed_slow=slow, probe_ends=float("inf")
        )
        self._count_probe(False, now - leave.began, now, None, leave.source)

    def settle(
        self,
        number: int,
        outcome: Outcome,
        now: float,
        *,
        duration: float | None = None,
        server_wait: float | None = None,
    ) -> bool:
        """Call `number` has ended. False if its end is late."""
        self.wake(now)
        leave = self.passes.pop(number)
        if leave.state is State.DISABLED:
            return leave.generation == self.generation
        self.counts[outcome] += 1
        if leave.generation != self.generation:
            self.late += 1
            return False
        if outcome in (Outcome.SUCCESS, Outcome.FAILURE):
            took = now - leave.began if duration is None else duration
            failed = outcome is Outcome.FAILURE
            if self.state is State.HALF_OPEN:
                self._end_probe(leave, failed, took, now, server_wait)
            elif self.state is State.CLOSED:
                self._count(failed, took, leave.slow_from, now, server_wait)
        elif outcome is Outcome.CANCELLED and self.state is State.HALF_OPEN:
            self._keep_from_client(leave, now)
        if self.shadow is not None and number in self.shadow.passes:
            self.shadow.settle(number, outcome, now, duration=duration)
        return True

    # Operators and accidents.

    def trip(self, now: float) -> None:
        """Open; while open, wait anew."""
        self.wake(now)
        if self.state is State.OPEN:
            self.until = now + self._wait(None)
            self._probe_next(now)
        else:
            self._open(now, None)

    def reset(self, now: float) -> None:
        """Close, and forget everything."""
        self.wake(now)
        self._enter(State.CLOSED)
        self._forget()

    def hold(self, state: State, now: float) -> None:
        """Go into `state`, and stay there."""
        self.wake(now)
        if self.state is state:
            return
        self._note_counts(now)
        self._enter(state)
        self._forget()
        if state is State.OBSERVING:
            self.shadow = Reference(unprobed(self.config))

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Apply another policy to the calls counted so far."""
        self.wake(now)
        before, self.config = self.config, config
        if self.state is State.HALF_OPEN:
            self._judge(now, None)
        rhythms = [(each.probe_interval, each.probe_timeout) for each in (before, config)]
        if self.state is State.OPEN and rhythms[0] != rhythms[1]:
            self._probe_next(now)
        if self.shadow is not None:
            self.shadow.configure(unprobed(config), now)

    def crash(self, now: float) -> None:
        """Restart with the same state and wait, the next generation, and only the row of the calls so far."""
        if self.state is State.CLOSED:
            self.row = self._row(now)
        self.heard = []
        self.generation += 1
        self.successes = self.probe_failures = 0
        self.failed_source = None
        self.ramp = None
        self.failed_route = None
        self.kept_route = self.kept_client = Exclusion()
        if self.shadow is not None:
            self.shadow = Reference(unprobed(self.config))

    # The rules.

    def _refused(self, now: float, source: Source | None) -> ModelRejection | None:
        if self.state is State.OPEN:
            assert self.until is not None
            return ModelRejection(RejectReason.OPEN, self.until - now)
        if self.state is State.FORCED_OPEN:
            return ModelRejection(RejectReason.FORCED, 30.0)
        if self.state is State.HALF_OPEN and not self._may_probe(now, source or Source()):
            ends = [each.probe_ends - now for each in self._running()]
            return ModelRejection(RejectReason.PROBING, min([1.0, *ends]))
        if self.state is State.CLOSED and self.ramp is not None and not self._ramp_admits(self.ramp, now):
            return ModelRejection(RejectReason.RAMP, sum(self.ramp) - now)
        return None

    def _ramp_admits(self, ramp: tuple[float, float], now: float) -> bool:
        """The number of calls admitted since closing is the sum of the ramp's shares at their times."""
        start, length = ramp
        self.ramp_asked.append(now)
        shares = [(time - start) / length for time in self.ramp_asked]
        return int(sum(shares)) > int(sum(shares[:-1]))

    def _count(
        self, failed: bool, took: float, slow_from: float | None, now: float, server_wait: float | None
    ) -> None:
        self.heard.append(CountedCall(now, failed, took, slow_from))
        if self._trips(now):
            self._open(now, server_wait)
