"""The breaker's actor: the only writer of one machine, and the only publisher of its gate."""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, assert_never

import trio

from .active_probe import ActiveProbe
from .call.gate import Gate
from .call.guard import Guard
from .circuit_breaker import ADMITTING, CircuitBreaker
from .errors import CircuitOpenError
from .events import EventBroadcaster
from .machine.machine import Machine, RecoveryState
from .machine.statistics import Histogram
from .mailbox import Actor
from .messages import (
    Acquire,
    Admission,
    Answered,
    CallSettled,
    Configure,
    FailSettled,
    FindAdmission,
    ForceState,
    Outcome,
    ProbePassed,
    RejectReason,
    ReleasePermit,
    Remove,
    Reset,
    SetSubscribers,
    Settle,
    Snapshot,
    State,
    TakeSnapshot,
    Transition,
    Trip,
    Wake,
)
from .policy.config import CircuitBreakerConfig

Command: TypeAlias = (
    Acquire
    | Settle
    | Answered
    | FailSettled
    | ReleasePermit
    | Trip
    | Reset
    | ForceState
    | Configure[CircuitBreakerConfig]
    | ProbePassed
    | FindAdmission
    | Remove
    | TakeSnapshot
    | SetSubscribers
    | Wake
)
UNNAMED = (TakeSnapshot, Wake, FindAdmission)
"""Messages that cause no transition on behalf of their sender."""
NEVER = float("inf")
SUCCESS, IGNORED, CANCELLED = Outcome.SUCCESS, Outcome.IGNORED, Outcome.CANCELLED
logger = logging.getLogger("trio_breakers")


class Supervisor(Protocol):
    """The part of the panel that an actor uses: nursery, subscribers, clock, and its judgement of crashes."""

    nursery: trio.Nursery
    broadcaster: EventBroadcaster
    clock: Callable[[], float]
    bound: Callable[[], Mapping[str, Any]] | None

    def report_callback(self, field: str, error: Exception) -> None:
        """Log an exception of a user's function."""

    def note_crash(self, name: str, crash: Exception) -> None:
        """Raise PanelFailedError, if there were too many crashes."""


class BreakerActor(Actor[Command]):
    """One breaker's task."""

    __slots__ = (
        "_active_probe",
        "_admits_at",
        "_machine",
        "_panel",
        "_recovery_state",
        "_retired",
        "_unix_changed_at",
        "_unix_opened_at",
        "_usage",
        "_watchers",
        "_whose",
        "admission_changes",
        "closed",
        "handle",
        "idle_since",
        "registered",
        "restarts",
    )

    def __init__(self, config: CircuitBreakerConfig, panel: Supervisor, histogram: Histogram | None) -> None:
        super().__init__(panel.clock)
        now = self.clock()
        self._panel = panel
        self._machine = Machine(config, now=now)
        self._recovery_state: RecoveryState | None = None
        self._watchers = 0
        self._retired: list[Gate] | None = None
        self._active_probe: ActiveProbe | None = None
        self._unix_changed_at = time.time()
        self._unix_opened_at = 0.0
        self.closed = False
        self.restarts = 0
        self.admission_changes = 0
        # When a call is admitted, as those who wait were told last.
        self._admits_at = -NEVER
        # The policy that the breaker was asked for by; an operator may have given it another one since.
        self.registered = config
        self.idle_since, self._usage = now, 0
        self._whose: contextvars.Context | None = None
        self.handle = CircuitBreaker(config, self, histogram)
        self._publish(now)

    # The actor.

    def receive(self, message: Command, now: float) -> Any:
        """Fold what callers tallied, handle one message, publish what changed."""
        self._fold(now)
        answer = self._dispatch(message, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()
        return self._snapshot(now) if isinstance(message, TakeSnapshot) else answer

    def wake(self, now: float) -> None:
        """Let deadlines come: the machine's, and those of calls under way."""
        self._fold(now)
        self._machine.wake(now)
        if self.handle._in_flight_calls is not None:
            for flight in self.handle._in_flight_calls.take_due(now):
                assert isinstance(flight, Guard)
                if (settle := flight.time_out()) is not None:
                    self._settle_for(flight, settle, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()

    def _settle_for(self, flight: Guard, settle: Settle, now: float) -> None:
        """Count a call that the actor has ended. Its caller has caused the transition, if there is one."""
        self._whose = flight.context
        try:
            self._settle(settle, now)
            self._publish(now)
        finally:
            self._whose = None

    def deadline(self, now: float) -> float:
        """The first of the machine's deadline, a window's roll and a call's timeout."""
        machine = self._machine
        first = NEVER if self.handle._in_flight_calls is None else self.handle._in_flight_calls.next_due
        for moment in (machine.deadline, machine.next_roll(now)):
            if moment is not None and moment < first:
                first = moment
        return first

    def crashed(self, crash: Exception) -> None:
        """Carry on with what was last published, in a new generation."""
        self._panel.note_crash(self.handle.name, crash)
        now = self.clock()
        self.restarts += 1
        recovery_state = self._recovery_state or Machine(self.handle.config).recovery_state()
        self._machine = Machine.restored(self.handle.config, recovery_state, self._machine.statistics, now)
        self._fold(now)
        self._publish(now)

    def tell_soon(self, message: Command) -> None:
        """Send without waiting. If the mailbox is full, a task of the panel waits for a place."""
        if not self.mailbox.tell(message) and not self.closed:
            self._panel.nursery.start_soon(self.handle._tell, message)

    def close(self) -> None:
        """End: answer every pending message, and publish a gate that admits no call."""
        self.closed = True
        gate = self.handle._gate
        gate.live = False
        self.handle._gate, self.handle._fast = Gate(gate.name, gate.state, gate.generation + 1), None
        if self._active_probe is not None:
            self._active_probe.end()
        for flight in self.handle._in_flight_calls or ():
            assert isinstance(flight, Guard)
            flight.end_by_itself()
        super().close()
        if self.handle._broadcaster is not None:
            self.handle._broadcaster.close()
        self._notify_waiters()

    @property
    def has_retired_calls(self) -> bool:
        """Whether calls that an earlier gate admitted may still run."""
        return self._retired is not None

    def look_for_use(self, since: float) -> None:
        """Note whether the breaker was used since the last look, which was at `since`."""
        handle, statistics = self.handle, self._machine.statistics
        gate = handle._gate
        usage = statistics.asked_for + gate.started + gate.rejected + gate.full
        if usage != self._usage or statistics.in_flight or gate.running() or handle.is_watched:
            self._usage, self.idle_since = usage, since

    @property
    def may_be_removed(self) -> bool:
        """Whether its removal loses neither a wait after an outage nor an operator's command."""
        return self._machine.state in (State.CLOSED, State.HALF_OPEN)

    # Commands.

    def _dispatch(self, message: Command, now: float) -> Any:  # noqa: C901 - an arm a command
        machine = self._machine
        match message:
            case Acquire(is_active_probe, source):
                return machine.admit(now, is_active_probe=is_active_probe, source=source)
            case Settle():
                return self._settle(message, now)
            case Answered(permit, duration):
                return machine.answered(permit, now, duration)
            case FailSettled(permit, error):
                return machine.fail_again(permit, now, error)
            case ReleasePermit(permit):
                return machine.give_back(permit, now)
            case Trip(reason):
                if self._active_probe is not None:
                    self._active_probe.start_anew()
                return machine.trip(now, reason)
            case Reset(reason):
                return machine.reset(now, reason)
            case ForceState(state, reason):
                return machine.hold(state, now, reason)
            case Configure(config):
                machine.configure(config, now)
                return self.handle._take(config)
            case ProbePassed():
                if self._active_probe is not None and self._active_probe.is_current(message):
                    machine.end_wait(now)
                return None
            case SetSubscribers(by):
                self._watchers += by
                return None
            case FindAdmission():
                machine.wake(now)
                return Admission(machine.admits_at(now), self.admission_changes)
            case Remove():
                self.ended = True
                self.mailbox.farewell = f"circuit breaker {self.handle.name!r} was removed from its panel"
                return None
            case TakeSnapshot() | Wake():
                return machine.wake(now)
        assert_never(message)  # pragma: no cover - type checkers see that every command is obeyed

    def _settle(self, message: Settle, now: float) -> bool:
        permit, machine = message.permit, self._machine
        machine.wake(now)
        # That of a probe which has answered is the generation that it brought about.
        generation = machine.generation if machine.is_outstanding(permit) else permit.generation
        in_time = machine.settle(
            permit,
            message.outcome,
            now,
            message.duration,
            retry_after=message.retry_after,
            error=message.error,
        )
        if self._watchers:
            self._emit(
                CallSettled(self.handle.name, message.outcome, generation, now, message.duration, not in_time)
            )
        return in_time

    # Folding and publishing.

    def _fold(self, now: float) -> None:
        gate = self.handle._gate
        statistics = self._machine.statistics
        if gate.rejected:
            statistics.rejected(gate.reason, gate.rejected)
            gate.rejected = 0
        if gate.full:
            statistics.rejected(RejectReason.BULKHEAD, gate.full)
            gate.full = 0
        self._fold_calls(gate)
        gate.since = now
        if self._retired:
            for old in self._retired:
                self._fold_calls(old)
            self._retired = [old for old in self._retired if old.in_flight] or None

    def _fold_calls(self, gate: Gate) -> None:
        started, succeeded, ignored, cancelled = gate.started, gate.succeeded, gate.ignored, gate.cancelled
        gate.in_flight += started - succeeded - ignored - cancelled - gate.asked
        gate.started = gate.succeeded = gate.ignored = gate.cancelled = gate.asked = 0
        if not (started or succeeded or ignored or cancelled):
            return
        late = gate.generation != self._machine.generation
        self._machine.fold(started, succeeded, ignored, cancelled, gate.since, late=late)
        # Counted and gone from the gate: a crash in the message that follows must not forget it.
        self._recovery_state = self._machine.recovery_state()
        if self._watchers:
            self._tell_folded(gate, {SUCCESS: succeeded, IGNORED: ignored, CANCELLED: cancelled}, late)

    def _tell_folded(self, gate: Gate, counts: dict[Outcome, int], late: bool) -> None:
        """Emit events for tallied calls, which began while there was no watcher."""
        for outcome, count in counts.items():
            for _ in range(count):
                self._emit(CallSettled(self.handle.name, outcome, gate.generation, self.clock(), late=late))

    def _publish(self, now: float) -> None:
        machine, handle = self._machine, self.handle
        if machine.config.probe is not None and self._active_probe is None:
            self._active_probe = ActiveProbe(self, self._panel.nursery)
        if self._active_probe is not None:
            self._active_probe.follow(machine, now)
        batches_successes, admits = machine.batches_successes and not self._watchers, machine.admits_all
        until, gate = machine.until, handle._gate
        if not gate.matches(
            machine.generation,
            until,
            admits,
            batches_successes,
            batches_successes and admits and handle._plain,
        ):
            self._replace_gate(until, admits, batches_successes, now)
        if not admits:
            self._update_rejections(handle._gate)
        for event in machine.drain():
            self._tell(event)
        if handle._waiters is not None:
            self._follow_admission(machine.admits_at(now), now)

    def _update_rejections(self, gate: Gate) -> None:
        """Publish the facts for rejections, and whether a call may be part of a running one."""
        machine = self._machine
        gate.opened_at, gate.last_failure = machine.opened_at, machine.statistics.last_failure
        may_be_within = machine.statistics.in_flight > 0 or machine.config.probe_interval is not None
        gate.rejects_until = -NEVER if may_be_within else gate.until

    def _replace_gate(self, until: float, admits: bool, batches_successes: bool, now: float) -> None:
        machine, handle = self._machine, self.handle
        self._retire(handle._gate)
        fast = batches_successes and admits and handle._plain
        handle._gate = Gate(
            handle.name,
            machine.state,
            machine.generation,
            until=until,
            admits=admits,
            batches_successes=batches_successes,
            fast=fast,
            since=now,
        )
        handle._fast = handle._gate if fast else None

    def _retire(self, gate: Gate) -> None:
        gate.live = False
        if gate.in_flight:
            self._retired = [*(self._retired or ()), gate]

    def _tell(self, event: Transition) -> None:
        now = time.time()
        event = replace(event, unix_time=now, bound=self._bound())
        if not event.observed:
            self._unix_changed_at = now
            self._unix_opened_at = self._outage_start(event, now)
            if event.new in (State.OPEN, State.FORCED_OPEN) and self.handle.config.cancel_in_flight:
                self._cancel_in_flight(now=event.time)
        self._emit(event)
        self._panel.broadcaster.emit(event)

    def _bound(self) -> Mapping[str, Any]:
        """Context values of the caller that caused the transition. Empty for timer-driven transitions."""
        find, whose = self._panel.bound, self._whose
        message = None if self._in_hand is None else self._in_hand.message
        if whose is None and self._in_hand is not None and not isinstance(message, UNNAMED):
            whose = self._in_hand.context
        if find is None or whose is None:
            return {}
        try:
            # A copy: the caller's own may be in use.
            return whose.copy().run(find)
        except Exception as error:  # noqa: BLE001 - what only observes must not harm the breaker
            self._panel.report_callback("bound", error)
            return {}

    def _cancel_in_flight(self, now: float) -> None:
        for flight in self.handle._in_flight_calls or ():
            assert isinstance(flight, Guard)
            flight.cut_off(CircuitOpenError(self.handle._gate, now))

    def _follow_admission(self, moment: float, now: float) -> None:
        """Wake those who wait if a call would be admitted, or if there was no time at which, and now is."""
        if moment <= now or moment < self._admits_at == NEVER:
            self._notify_waiters()
        self._admits_at = moment

    def _notify_waiters(self) -> None:
        self.admission_changes += 1
        if self.handle._waiters is not None:
            self.handle._waiters.unpark_all()

    def _emit(self, event: Transition | CallSettled) -> None:
        if self.handle._broadcaster is not None:
            self.handle._broadcaster.emit(event)

    def _outage_start(self, event: Transition, now: float) -> float:
        if event.new in ADMITTING:
            return 0.0
        return self._unix_opened_at or now

    def _snapshot(self, now: float) -> Snapshot:
        histogram = self.handle._histogram
        return replace(
            self._machine.snapshot(now),
            unix_changed_at=self._unix_changed_at,
            unix_opened_at=self._unix_opened_at,
            restarts=self.restarts,
            durations=None if histogram is None else histogram.snapshot(),
        )
