"""The breaker's actor: the only writer of one machine, and the only publisher of its gate."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from .call.accounting import CallAccounting
from .call.active_probe import ActiveProbe
from .call.gate import Gate
from .call.in_flight import InFlightCall
from .commands import (
    WITHOUT_CAUSE,
    Acquire,
    Admission,
    AdoptClosed,
    AdoptOpen,
    Answered,
    Command,
    Configure,
    FailSettled,
    FindAdmission,
    ForceState,
    GiveBack,
    GrantProbe,
    LocalEvidence,
    ProbePassed,
    ReleasePermit,
    Remove,
    Reset,
    SetSubscribers,
    Settle,
    TakeEvidence,
    TakeSnapshot,
    Trip,
    Wake,
)
from .errors import CircuitOpenError
from .machine.machine import Machine
from .machine.recovery import RecoveryState
from .mailbox import Actor
from .messages import ADMITTING, NEVER, CallSettled, Outcome, Snapshot, State, Transition
from .supervisor import Supervisor, context_values


class BreakerActor(Actor[Command]):
    """One breaker's task: it folds the gate's counts, handles a message, and publishes the changes.

    idle_since: the time since which the breaker wasn't used, as of the last `note_use`.
    """

    __slots__ = (
        "_accounting",
        "_active_probe",
        "_causing_context",
        "_machine",
        "_noted",
        "_panel",
        "_recovery_state",
        "_subscribers",
        "_unix_changed_at",
        "_unix_opened_at",
        "_usage",
        "idle_since",
        "restarts",
    )

    def __init__(self, machine: Machine, accounting: CallAccounting, panel: Supervisor) -> None:
        super().__init__(accounting.mailbox, panel.clock)
        now = self.clock()
        self._panel = panel
        self._machine = machine
        self._accounting = accounting
        # What a crash leaves of the machine: as it was after the last message or deadline.
        self._recovery_state: RecoveryState | None = None
        self._subscribers = 0
        self._active_probe: ActiveProbe | None = None
        self._unix_changed_at = time.time()
        self._unix_opened_at = 0.0
        self.restarts = 0
        # The generation and the failures of which the panel was last notified.
        self._noted = (0, 0)
        self.idle_since, self._usage = now, 0
        # While the actor counts a call that it has ended: the context of that call.
        self._causing_context: contextvars.Context | None = None
        self._publish(now)

    # The actor.

    def receive(self, message: Command, now: float) -> Any:
        """Fold the gate's counts, handle one message, publish the changes."""
        self._fold(now)
        answer = self._dispatch(message, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()
        return self._snapshot(now) if isinstance(message, TakeSnapshot) else answer

    def wake(self, now: float) -> None:
        """Handle the deadlines that have passed: the machine's, and those of running calls."""
        self._fold(now)
        self._machine.wake(now)
        if self._accounting.in_flight_calls is not None:
            for call in self._accounting.in_flight_calls.take_overdue(now):
                if (settle := call.time_out()) is not None:
                    self._settle_for(call, settle, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()

    def _settle_for(self, call: InFlightCall, settle: Settle, now: float) -> None:
        """Count a call that the actor has ended. Its caller is the cause of a transition."""
        self._causing_context = call.context
        try:
            self._settle(settle, now)
            self._publish(now)
        finally:
            self._causing_context = None

    def may_catch_up(self, now: float) -> bool:
        """Not after a lease: since its end other instances probe, and know more than a late success."""
        return not self._machine.is_lease_over(now)

    def deadline(self, now: float) -> float:
        """The first of the machine's deadline, a window's roll and a call's timeout."""
        machine, in_flight_calls = self._machine, self._accounting.in_flight_calls
        first = NEVER if in_flight_calls is None else in_flight_calls.next_deadline
        for moment in (machine.deadline, machine.next_roll(now)):
            if moment is not None and moment < first:
                first = moment
        return first

    def crashed(self, crash: Exception) -> None:
        """Carry on with the state last published, in a new generation."""
        policy = self._accounting.policy
        self._panel.note_crash(policy.name, crash)
        now = self.clock()
        self.restarts += 1
        recovery_state = self._recovery_state or Machine(policy).recovery_state()
        self._machine = Machine.restored(policy, recovery_state, self._machine.statistics, now)
        self._fold(now)
        self._publish(now)

    def close(self) -> None:
        """End: answer every pending message, and publish a gate that admits no call."""
        super().close()
        if self._active_probe is not None:
            self._active_probe.end()
        for call in self._accounting.in_flight_calls or ():
            call.keep_own_timeout()
        self._accounting.publish_end()

    def note_use(self, since: float) -> None:
        """Update `idle_since`. since: the time of the last call of this method."""
        accounting, statistics = self._accounting, self._machine.statistics
        gate = accounting.gate
        usage = statistics.admitted_or_rejected + gate.started + gate.rejected + gate.full
        if usage != self._usage or statistics.in_flight or gate.running() or accounting.is_watched:
            self._usage, self.idle_since = usage, since

    @property
    def may_be_removed(self) -> bool:
        """Whether its removal loses neither a wait after an outage nor an operator's command."""
        return self._machine.state in (State.CLOSED, State.HALF_OPEN)

    # Commands.

    def _dispatch(self, message: Command, now: float) -> Any:  # noqa: C901 - a case for each command
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
                return machine.release(permit, now)
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
                return self._accounting.apply_policy(config)
            case ProbePassed():
                if self._active_probe is not None and self._active_probe.is_current(message):
                    machine.end_wait(now)
                return None
            case SetSubscribers(by):
                self._subscribers += by
                return None
            case FindAdmission():
                machine.wake(now)
                return Admission(machine.admits_at(now), self._accounting.admission_changes)
            case Remove():
                self.ended = True
                self.mailbox.farewell = f"circuit breaker {machine.config.name!r} was removed from its panel"
                return None
            case AdoptOpen(wait, reason, attempt):
                return machine.adopt_open(now, wait, reason, attempt)
            case AdoptClosed(reason):
                return machine.adopt_closed(now, reason)
            case GrantProbe(within, attempt):
                return machine.grant_probe(now, within, attempt)
            case GiveBack():
                return machine.give_back(now)
            case TakeEvidence():
                machine.wake(now)
                return self._evidence()
            case TakeSnapshot() | Wake():
                return machine.wake(now)
        assert_never(message)  # pragma: no cover - type checkers see that every command has a case

    def _evidence(self) -> LocalEvidence:
        machine, statistics = self._machine, self._machine.statistics
        return LocalEvidence(
            machine.state,
            machine.generation,
            machine.evidence,
            statistics.success,
            statistics.failure,
            statistics.rejections,
            machine.waits_for_lease,
            machine.has_lease,
            machine.is_probing,
            machine.config.probe is not None or self._accounting.is_waited_for,
            machine.config.reset_timeout,
        )

    def _settle(self, message: Settle, now: float) -> bool:
        permit, machine = message.permit, self._machine
        machine.wake(now)
        # A probe that has answered counts in the generation that it caused.
        generation = machine.generation if machine.is_outstanding(permit) else permit.generation
        in_time = machine.settle(
            permit,
            message.outcome,
            now,
            message.duration,
            retry_after=message.retry_after,
            error=message.error,
        )
        if self._subscribers:
            name, outcome = machine.config.name, message.outcome
            self._accounting.emit(CallSettled(name, outcome, generation, now, message.duration, not in_time))
        return in_time

    # Folding.

    def _fold(self, now: float) -> None:
        """Count the calls and rejections that callers counted on the gates."""
        accounting = self._accounting
        gate = accounting.gate
        if gate.rejected or gate.full:
            for reason, count in gate.take_rejections().items():
                self._machine.statistics.rejected(reason, count)
        self._fold_calls(gate)
        gate.since = now
        if accounting.retired is not None:
            for old in accounting.retired:
                self._fold_calls(old)
            accounting.forget_ended()

    def _fold_calls(self, gate: Gate) -> None:
        counts = gate.take_counts()
        if counts is None:
            return
        started, succeeded, ignored, cancelled = counts
        late = gate.generation != self._machine.generation
        self._machine.fold(started, succeeded, ignored, cancelled, gate.since, late=late)
        # Counted and gone from the gate: a crash in the next message must not forget it.
        self._recovery_state = self._machine.recovery_state()
        if self._subscribers:
            # They began while there was no subscriber.
            self._emit_folded(gate, Outcome.SUCCESS, succeeded, late)
            self._emit_folded(gate, Outcome.IGNORED, ignored, late)
            self._emit_folded(gate, Outcome.CANCELLED, cancelled, late)

    def _emit_folded(self, gate: Gate, outcome: Outcome, count: int, late: bool) -> None:
        for _ in range(count):
            event = CallSettled(gate.name, outcome, gate.generation, self.clock(), late=late)
            self._accounting.emit(event)

    # Publishing.

    def _publish(self, now: float) -> None:
        machine, accounting = self._machine, self._accounting
        if machine.config.probe is not None and self._active_probe is None:
            self._active_probe = ActiveProbe(accounting, self._panel.nursery)
        if self._active_probe is not None:
            self._active_probe.follow(machine, now)
        accounting.follow_machine(
            machine, now, batches=not self._subscribers, fast=accounting.allows_fast_path
        )
        for event in machine.drain():
            self._announce(event)
        if accounting.waiters is not None:
            accounting.follow_admission(machine.admits_at(now), now)
        if self._panel.on_change is not None:
            self._note_change(self._panel.on_change)

    def _note_change(self, notify: Callable[[str], None]) -> None:
        noted = self._machine.generation, self._machine.failure_count
        if noted != self._noted:
            self._noted = noted
            notify(self._machine.config.name)

    def _announce(self, event: Transition) -> None:
        now = time.time()
        event = replace(event, unix_time=now, context=context_values(self._panel, self._cause()))
        if not event.observed:
            self._unix_changed_at = now
            self._unix_opened_at = 0.0 if event.new in ADMITTING else self._unix_opened_at or now
            if event.new in (State.OPEN, State.FORCED_OPEN) and self._accounting.policy.cancel_in_flight:
                self._cancel_in_flight(now=event.time)
        self._accounting.emit(event)
        self._panel.broadcaster.emit(event)

    def _cause(self) -> contextvars.Context | None:
        """The context of the caller that has caused a transition; None for a timer-driven one."""
        envelope = self._in_hand
        if self._causing_context is None and envelope is not None:
            return None if isinstance(envelope.message, WITHOUT_CAUSE) else envelope.context
        return self._causing_context

    def _cancel_in_flight(self, now: float) -> None:
        for call in self._accounting.in_flight_calls or ():
            call.cancel_with(CircuitOpenError(self._accounting.gate, now))

    def _snapshot(self, now: float) -> Snapshot:
        histogram, bulkhead = self._accounting.histogram, self._accounting.bulkhead
        return replace(
            self._machine.snapshot(now),
            unix_changed_at=self._unix_changed_at,
            unix_opened_at=self._unix_opened_at,
            restarts=self.restarts,
            durations=None if histogram is None else histogram.snapshot(),
            bulkhead_limit=None if bulkhead is None else bulkhead.places,
        )
