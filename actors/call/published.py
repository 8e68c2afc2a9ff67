"""What a breaker's actor publishes to callers: the gate in force, admissions and events."""

from __future__ import annotations

import trio

from ..events import EventBroadcaster
from ..machine.machine import Machine
from ..messages import NEVER, CallSettled, Transition
from .gate import Gate


class PublishedState:
    """Written by the actor, through the methods here. Callers read it.

    gate: the gate in force. fast: the same gate if it is fast, else None: the fastest calls read only this.
    retired: earlier gates that admitted calls which may still run; None: there are none.
    waiters: the tasks that wait until calls are admitted; None: none has waited yet.
    broadcaster: the subscribers of the breaker's events; None: there was none yet.
    admission_changes: how often the waiting tasks were woken, so that none misses a change.
    """

    __slots__ = (
        "_admits_at",
        "admission_changes",
        "broadcaster",
        "fast",
        "gate",
        "name",
        "retired",
        "waiters",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.gate = Gate(name)
        self.fast: Gate | None = None
        self.retired: list[Gate] | None = None
        # What few breakers need is made when it is first needed: ten thousand of them may be idle.
        self.waiters: trio.lowlevel.ParkingLot | None = None
        self.broadcaster: EventBroadcaster | None = None
        self.admission_changes = 0
        # When a call is admitted, as of the last `follow_admission`.
        self._admits_at = -NEVER

    def follow_machine(self, machine: Machine, now: float, *, batches: bool, fast: bool) -> None:
        """Put a gate of the machine's state in force, if the present one has another content.

        batches: a success may be counted without a message. fast: the policy needs no more than two counts.
        """
        generation, until, admits = machine.generation, machine.until, machine.admits_all
        batches = batches and machine.batches_successes
        fast = fast and batches and admits
        shadow = None if machine.shadow is None else machine.shadow.gate_answer()
        if not self.gate.has_content(generation, until, admits, batches, fast, shadow):
            self._replace_gate(
                Gate(
                    machine.config.name,
                    machine.state,
                    generation,
                    until=until,
                    admits=admits,
                    batches_successes=batches,
                    fast=fast,
                    since=now,
                    shadow=shadow,
                )
            )
        if not admits:
            statistics = machine.statistics
            may_be_within = statistics.in_flight > 0 or machine.config.probe_interval is not None
            self.gate.set_rejections(machine.opened_at, statistics.last_failure, may_be_within)

    def _replace_gate(self, gate: Gate) -> None:
        """Retire the present gate, which was folded just before."""
        self.gate.live = False
        if self.gate.in_flight:
            self.retired = [*(self.retired or ()), self.gate]
        self.gate = gate
        self.fast = gate if gate.fast else None

    def publish_end(self) -> None:
        """Put a gate in force that admits no call, wake the waiting tasks, and end the subscriptions."""
        gate = self.gate
        gate.live = False
        self.gate, self.fast = Gate(gate.name, gate.state, gate.generation + 1), None
        if self.broadcaster is not None:
            self.broadcaster.close()
        self.notify_waiters()

    def forget_ended(self) -> None:
        """Drop the retired gates whose last call has ended, after all were folded."""
        self.retired = [gate for gate in self.retired or () if gate.in_flight] or None

    def follow_admission(self, moment: float, now: float) -> None:
        """Wake the waiting tasks if a call is admitted now, or if its time has become known.

        moment: when a call is admitted if nothing else happens; inf: only another event decides.
        """
        if moment <= now or moment < self._admits_at == NEVER:
            self.notify_waiters()
        self._admits_at = moment

    def notify_waiters(self) -> None:
        """Wake the tasks that wait until calls are admitted."""
        self.admission_changes += 1
        if self.waiters is not None:
            self.waiters.unpark_all()

    def emit(self, event: Transition | CallSettled) -> None:
        """Send an event to the breaker's subscribers."""
        if self.broadcaster is not None:
            self.broadcaster.emit(event)

    @property
    def is_waited_for(self) -> bool:
        """Whether a task waits until the breaker admits calls."""
        return self.waiters is not None and bool(self.waiters.statistics().tasks_waiting)

    @property
    def is_watched(self) -> bool:
        """Whether a task reads the breaker's events, or waits until it admits calls."""
        return self.is_waited_for or (self.broadcaster is not None and self.broadcaster.has_subscribers)
