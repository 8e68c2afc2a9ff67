"""What a breaker's actor publishes: the gate, events, snapshots; and how it folds what callers counted."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from dataclasses import replace

from .call.accounting import CallAccounting
from .call.active_probe import ActiveProbe
from .call.gate import Gate
from .commands import WITHOUT_CAUSE, Command
from .errors import CircuitOpenError
from .machine.machine import Machine
from .machine.recovery import RecoveryState
from .machine.shadow import ShadowBreaker
from .mailbox import Actor
from .messages import ADMITTING, CallSettled, Outcome, ShadowTransition, Snapshot, State, Transition
from .supervisor import Supervisor, context_values


class PublishingActor(Actor[Command]):
    """Owns one machine and publishes its state; the subclass handles the messages.

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

    # Folding.

    def _fold(self, now: float) -> None:
        """Count the calls and rejections that callers counted on the gates."""
        accounting = self._accounting
        gate = accounting.gate
        if gate.rejected or gate.full:
            for reason, count in gate.take_rejections().items():
                self._machine.rejected(reason, count)
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
        self._machine.fold(started, succeeded, ignored, cancelled, gate.since, late=late, shadow=gate.shadow)
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
        if machine.shadow is not None:
            self._announce_shadow(machine.shadow)
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

    def _announce_shadow(self, shadow: ShadowBreaker) -> None:
        """Report what the shadow would have done, apart from the events of the breaker."""
        for event in shadow.drain():
            self._panel.shadow_broadcaster.emit(
                ShadowTransition(event.name, event.old, event.new, event.reason, event.time, time.time())
            )
        if (error := shadow.take_failure()) is not None:
            self._panel.note_stopped_shadow(self._machine.config.name, error)

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
