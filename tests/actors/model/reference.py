"""A circuit breaker that is slow and plainly right: it keeps every event and looks at all of them.

Written from the rules, not from the code that it is held against. Time is whatever it is told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from actors import (
    AnyOf,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Outcome,
    RejectReason,
    SlowCallRate,
    Source,
    State,
    TripStrategy,
)

SLICES = 10


class Heard(NamedTuple):
    """One counted thing. running: it is a call that was still running, told because it was slow then."""

    time: float
    failed: bool
    duration: float
    slow_from: float | None = None
    running: bool = False


class Pass(NamedTuple):
    """Leave for one call. answered: its dependency has, though it goes on. passed: that was as a probe.

    failed_slow: that answer came too late, so the probe has failed already.
    """

    generation: int
    state: State
    began: float
    probe_ends: float = float("inf")
    slow_from: float | None = None
    source: Source | None = None
    answered: bool = False
    passed: bool = False
    failed_slow: bool = False


class Kept(NamedTuple):
    """For whom the next probe isn't, and until when."""

    whom: object = None
    until: float = 0.0

    def keeps_out(self, who: object, now: float) -> bool:
        return who is not None and who == self.whom and now < self.until


class Refused(NamedTuple):
    """No leave. wait: after how many seconds to try again."""

    reason: RejectReason
    wait: float


def window(strategy: TripStrategy, heard: list[Heard], row: int, now: float) -> tuple[int, int]:
    """How many calls a strategy looks at now, and how many of them are bad."""
    if isinstance(strategy, ConsecutiveFailures):
        return 0, _trailing(heard, row)
    if isinstance(strategy, SlowCallRate):
        marks = [(event.time, slow) for event in heard if (slow := _slow(event, strategy)) is not None]
    else:
        marks = [(event.time, event.failed) for event in heard if not event.running]
    return _marked(strategy, marks, now)


def _marked(strategy: TripStrategy, marks: list[tuple[float, bool]], now: float) -> tuple[int, int]:
    assert isinstance(strategy, FailureCount | FailureRate | SlowCallRate)
    if isinstance(strategy.window, LastCalls):
        marks = marks[-strategy.window.n :]
    elif isinstance(strategy, FailureCount):
        marks = [(time, bad) for time, bad in marks if now - time < strategy.window.s]
    else:
        marks = [(time, bad) for time, bad in marks if _within(strategy.window, time, now)]
    return len(marks), sum(bad for _, bad in marks)


def _trailing(heard: list[Heard], row: int) -> int:
    """Failures at the end of what was heard; the row of before, where there was nothing else."""
    ended = [event.failed for event in heard if not event.running]
    if False not in ended:
        return row + len(ended)
    return ended[::-1].index(False)


def _slow(event: Heard, strategy: SlowCallRate) -> bool | None:
    if event.running:
        return True if event.duration >= strategy.threshold else None
    if event.slow_from is not None and event.slow_from >= strategy.threshold:
        return None
    return event.duration >= strategy.threshold


def _within(window: LastSeconds, time: float, now: float) -> bool:
    width = window.s / SLICES
    return now // width - time // width < SLICES


def trips(strategy: TripStrategy, heard: list[Heard], row: int, now: float) -> bool:
    """Whether what was heard opens the breaker."""
    if isinstance(strategy, AnyOf):
        return any(trips(each, heard, row, now) for each in strategy.strategies)
    calls, bad = window(strategy, heard, row, now)
    if isinstance(strategy, ConsecutiveFailures | FailureCount):
        return bad >= strategy.n
    assert isinstance(strategy, FailureRate | SlowCallRate)
    return calls >= strategy.minimum_calls and bad / calls >= strategy.rate


def failures(strategy: TripStrategy, heard: list[Heard], row: int, now: float) -> int:
    """The failures that count now."""
    if isinstance(strategy, AnyOf):
        return max(failures(each, heard, row, now) for each in strategy.strategies)
    if isinstance(strategy, SlowCallRate):
        return _marked(strategy, [(event.time, event.failed) for event in heard if not event.running], now)[1]
    return window(strategy, heard, row, now)[1]


def slow_calls(strategy: TripStrategy, heard: list[Heard], now: float) -> int:
    """The slow calls that count now."""
    if isinstance(strategy, AnyOf):
        return max(slow_calls(each, heard, now) for each in strategy.strategies)
    return window(strategy, heard, 0, now)[1] if isinstance(strategy, SlowCallRate) else 0


def unprobed(config: CircuitBreakerConfig) -> CircuitBreakerConfig:
    """The policy of a shadow, which has no probe of its own."""
    return replace(config, probe=None, probe_interval=None)


class Reference:
    """The model. `config` is the policy under test, read as data."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state = State.CLOSED
        self.generation = 1
        self.until: float | None = None
        self.attempt = 0
        self.heard: list[Heard] = []
        self.row = 0
        self.at_opening = self.slow_at_opening = 0
        self.passes: dict[int, Pass] = {}
        self.successes = self.probe_failures = 0
        self.failed_source: Source | None = None
        self.failed_route: object = None
        self.kept_route = self.kept_client = Kept()
        self.next_probe: float | None = None
        self.ramp: tuple[float, float] | None = None
        self.ramp_asked: list[float] = []
        self.shadow: Reference | None = None
        self.counts = dict.fromkeys(Outcome, 0)
        self.rejections = dict.fromkeys(RejectReason, 0)
        self.late = 0
        self.would_reject = 0

    def copy(self) -> Reference:
        """Another, that goes its own way."""
        other = object.__new__(Reference)
        vars(other).update(vars(self))
        other.heard, other.ramp_asked, other.passes = self.heard[:], self.ramp_asked[:], self.passes.copy()
        other.counts, other.rejections = self.counts.copy(), self.rejections.copy()
        other.shadow = None if self.shadow is None else self.shadow.copy()
        return other

    def key(self) -> tuple[object, ...]:
        """Equal for two that will do the same for ever."""
        kept = (
            self.heard,
            self.ramp_asked,
            self.passes.items(),
            self.counts.values(),
            self.rejections.values(),
        )
        return (
            self.state,
            self.generation,
            self.until,
            self.attempt,
            self.row,
            self.at_opening,
            self.slow_at_opening,
            self.successes,
            self.probe_failures,
            self.failed_source,
            self.ramp,
            self.failed_route,
            self.kept_route,
            self.kept_client,
            self.next_probe,
            self.late,
            self.would_reject,
            id(self.config),
            self.shadow and self.shadow.key(),
            *map(tuple, kept),
        )

    # What time does.

    def wake(self, now: float) -> None:
        """Whatever is due."""
        if self.state is State.OPEN and self.until is not None and now >= self.until:
            self._half_open(now)
        elif self.state is State.HALF_OPEN:
            self._wake_probes(now)
        elif self.state is State.CLOSED:
            self._wake_closed(now)
        elif self.shadow is not None:
            self.shadow.wake(now)

    def probe(self, now: float, passes: bool) -> None:
        """The breaker's own probes that are due by now; each is over at once, and passes or not."""
        if self.config.probe is None:
            return
        if self.state is State.OPEN and self.next_probe is not None and now >= self.next_probe:
            if passes:
                self._half_open(now)
            else:
                self._probe_next(now)
        while self.state is State.HALF_OPEN:
            self.counts[Outcome.SUCCESS if passes else Outcome.FAILURE] += 1
            self._count_probe(not passes, 0.0, now, None, None)

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

    def _wake_probes(self, now: float) -> None:
        generation = self.generation
        overdue = {n: each for n, each in self.passes.items() if each.generation == generation}
        for number, each in sorted(overdue.items(), key=lambda one: one[1].probe_ends):
            if now >= each.probe_ends and self.generation == generation:
                # Whatever it brings is late from here on.
                self.passes[number] = each._replace(generation=0)
                self._count_failed_probe(now, None, each.source)

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
                self.heard.append(Heard(now, False, now - each.began, running=True))
                if self._trips(now):
                    self._open(now, None)
                    return

    # What callers do.

    def admit(self, number: int, now: float, source: Source | None = None) -> Refused | None:
        """Ask for leave for call `number`; None: it is given."""
        self.wake(now)
        refused = self._refused(now, source)
        if refused is not None:
            self.rejections[refused.reason] += 1
            return refused
        ends = float("inf")
        if self.state is State.HALF_OPEN and self.config.half_open_timeout is not None:
            ends = now + self.config.half_open_timeout
        self.passes[number] = Pass(self.generation, self.state, now, ends, source=source)
        self.kept_client = Kept()
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
        """Call `number` has ended; False where that came late."""
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

    # What operators and accidents do.

    def trip(self, now: float) -> None:
        """Open; while open, wait anew."""
        self.wake(now)
        if self.state is State.OPEN:
            self.until = now + self._wait(None)
            self._probe_next(now)
        else:
            self._open(now, None)

    def reset(self, now: float) -> None:
        """Closed, and everything forgotten."""
        self.wake(now)
        self._enter(State.CLOSED)
        self._forget()

    def hold(self, state: State, now: float) -> None:
        """Stay so."""
        self.wake(now)
        if self.state is state:
            return
        self._note_counts(now)
        self._enter(state)
        self._forget()
        if state is State.OBSERVING:
            self.shadow = Reference(unprobed(self.config))

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Another policy, over what was heard so far."""
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
        """A successor: same state and wait, next generation; of what was heard only the row is known."""
        if self.state is State.CLOSED:
            self.row = self._row(now)
        self.heard = []
        self.generation += 1
        self.successes = self.probe_failures = 0
        self.failed_source = None
        self.ramp = None
        self.failed_route = None
        self.kept_route = self.kept_client = Kept()
        if self.shadow is not None:
            self.shadow = Reference(unprobed(self.config))

    # What is seen.

    def failures(self, now: float) -> int:
        """The failures that count now, or that counted at the opening."""
        if self.state in (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN):
            return self.at_opening
        if self.shadow is not None:
            return self.shadow.failures(now)
        return failures(self.config.strategy, self.heard, self.row, now)

    def slow(self, now: float) -> int:
        """The slow calls that count now, or that counted at the opening."""
        if self.state in (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN):
            return self.slow_at_opening
        if self.shadow is not None:
            return self.shadow.slow(now)
        return slow_calls(self.config.strategy, self.heard, now) if self.state is State.CLOSED else 0

    def reading(self, now: float) -> dict[str, object]:
        """Everything that a snapshot shows of the rules."""
        self.wake(now)
        return {
            "state": self.state,
            "generation": self.generation,
            "failures": self.failures(now),
            "slow": self.slow(now),
            "retry_after": None if self.until is None else self.until - now,
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "rejections": {reason.value: count for reason, count in self.rejections.items()},
            "late": self.late,
            "would_reject": self.would_reject,
            "in_flight": sum(each.state is not State.DISABLED for each in self.passes.values()),
        }

    # The rules.

    def _refused(self, now: float, source: Source | None) -> Refused | None:
        if self.state is State.OPEN:
            assert self.until is not None
            return Refused(RejectReason.OPEN, self.until - now)
        if self.state is State.FORCED_OPEN:
            return Refused(RejectReason.FORCED, 30.0)
        if self.state is State.HALF_OPEN and not self._may_probe(now, source or Source()):
            ends = [each.probe_ends - now for each in self._running()]
            return Refused(RejectReason.PROBING, min([1.0, *ends]))
        if self.state is State.CLOSED and self.ramp is not None and not self._ramp_admits(self.ramp, now):
            return Refused(RejectReason.RAMP, sum(self.ramp) - now)
        return None

    def _may_probe(self, now: float, source: Source) -> bool:
        probing = [each for each in self._running() if not each.passed]
        kept = self.kept_route.keeps_out(source.route, now) or self.kept_client.keeps_out(source.client, now)
        places = self.config.half_open_max_calls
        if self.config.half_open_failure_rate is not None:
            places -= self.successes + self.probe_failures
        return len(probing) < places and self.config.probe is None and not kept

    def _ramp_admits(self, ramp: tuple[float, float], now: float) -> bool:
        """Of all that asked since closing, as many are admitted as their moments' shares add up to."""
        start, length = ramp
        self.ramp_asked.append(now)
        shares = [(time - start) / length for time in self.ramp_asked]
        return int(sum(shares)) > int(sum(shares[:-1]))

    def _end_probe(
        self, leave: Pass, failed: bool, took: float, now: float, server_wait: float | None
    ) -> None:
        if not leave.passed:
            self._count_probe(failed, took, now, server_wait, leave.source)
        elif failed and not leave.failed_slow:
            self.successes = max(0, self.successes - 1)
            self._count_failed_probe(now, server_wait, leave.source)

    def _keep_from_client(self, leave: Pass, now: float) -> None:
        client = None if leave.source is None else leave.source.client
        if client is not None and not leave.passed:
            self.kept_client = Kept(client, now + 1)

    def _count_probe(
        self, failed: bool, took: float, now: float, server_wait: float | None, source: Source | None
    ) -> None:
        threshold = self.config.strategy.slow_threshold
        if failed or (threshold is not None and took >= threshold):
            self._count_failed_probe(now, server_wait, source)
            return
        self.successes += 1
        if self.config.half_open_failure_rate is not None:
            self._judge(now, server_wait)
        elif self.successes >= self.config.successes_to_close:
            self._recover(now)

    def _count_failed_probe(self, now: float, server_wait: float | None, source: Source | None) -> None:
        self.failed_source = source
        self.probe_failures += 1
        if self.config.half_open_failure_rate is None:
            self._reopen(now, server_wait, source)
        else:
            self._judge(now, server_wait)

    def _judge(self, now: float, server_wait: float | None) -> None:
        """By the share of all probes: bad as soon as that is certain, good when all have ended."""
        rate, probes = self.config.half_open_failure_rate, self.config.half_open_max_calls
        if rate is None:
            return
        if self.probe_failures >= rate * max(probes, self.successes + self.probe_failures):
            self._reopen(now, server_wait, self.failed_source)
        elif self.successes + self.probe_failures >= probes:
            self._recover(now)

    def _recover(self, now: float) -> None:
        recovered = self.generation
        self._enter(State.CLOSED)
        for number, each in self.passes.items():
            if each.passed and each.generation == recovered:
                self.passes[number] = each._replace(generation=self.generation)
        self._forget()
        self.ramp = None if self.config.ramp is None else (now, self.config.ramp)

    def _count(
        self, failed: bool, took: float, slow_from: float | None, now: float, server_wait: float | None
    ) -> None:
        self.heard.append(Heard(now, failed, took, slow_from))
        if self._trips(now):
            self._open(now, server_wait)

    def _trips(self, now: float) -> bool:
        return trips(self.config.strategy, self.heard, self.row, now)

    def _row(self, now: float) -> int:
        return window(ConsecutiveFailures(1), self.heard, self.row, now)[1]

    def _running(self) -> list[Pass]:
        return [each for each in self.passes.values() if each.generation == self.generation]

    def _wait(self, server_wait: float | None) -> float:
        wait = self.config.reset_timeout * self.config.backoff.factor**self.attempt
        longest = self.config.backoff.maximum
        if longest is not None:
            wait = min(wait, longest)
        if server_wait is None or not 0 < server_wait < 10**7:
            return wait
        return max(wait, min(server_wait, 600.0 if longest is None else longest))

    def _open(self, now: float, server_wait: float | None) -> None:
        self._note_counts(now)
        self._enter(State.OPEN)
        self.failed_route = None
        self.until = now + self._wait(server_wait)
        self._probe_next(now)

    def _note_counts(self, now: float) -> None:
        self.at_opening, self.slow_at_opening = self.failures(now), self.slow(now)

    def _reopen(self, now: float, server_wait: float | None, source: Source | None) -> None:
        self.attempt += 1
        self._open(now, server_wait)
        self.failed_route = None if source is None else source.route

    def _half_open(self, now: float) -> None:
        self._enter(State.HALF_OPEN)
        self.kept_route = Kept(self.failed_route, now + 1)

    def _probe_next(self, now: float) -> None:
        interval = self.config.probe_interval
        self.next_probe = None if interval is None else now + interval

    def _enter(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self.until = self.next_probe = None
        self.kept_route = self.kept_client = Kept()
        self.successes = self.probe_failures = 0
        self.failed_source = None
        self.ramp = None
        self.ramp_asked = []
        self.shadow = None

    def _forget(self) -> None:
        self.heard = []
        self.row = 0
        self.attempt = 0
        self.ramp = None
