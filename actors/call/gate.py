"""The gate: one generation as the actor publishes it, so that callers needn't ask."""

from __future__ import annotations

from ..messages import UNRECORDED, Permit, RejectReason, State


class _Tally:
    """What each of the fastest calls writes. A base, so that it lies at the gate's beginning in memory."""

    __slots__ = ("started", "succeeded")


class Gate(_Tally):
    """Read by callers, retired by the actor. Callers write nothing but its tallies.

    Tallies are conflated messages: of any number of calls that changed nothing, only the count is
    kept, and the actor folds it in before it handles anything else. A retired gate is folded too, as
    long as calls that it admitted are under way.

    fast: CLOSED, and nothing about this policy needs more than a tally.
    live: this is still the gate in force.
    admits: calls are admitted without asking. tallies: so are successes settled.
    until: the end of the wait while OPEN; -inf while calls are admitted or probed for.
    rejects_until: the time until which calls are rejected at once, for `reason`, without a look at anything
        else; -inf if a call may be part of an earlier one that still runs.
    asked: calls admitted here that were settled by a message.
    in_flight: the actor's: calls admitted here that hadn't ended at the last fold.
    """

    __slots__ = (
        "admits",
        "asked",
        "batches_successes",
        "cancelled",
        "fast",
        "full",
        "generation",
        "ignored",
        "in_flight",
        "last_failure",
        "live",
        "name",
        "opened_at",
        "reason",
        "rejected",
        "rejects_until",
        "since",
        "state",
        "until",
    )

    def __init__(
        self,
        name: str,
        state: State = State.CLOSED,
        generation: int = 1,
        *,
        until: float = float("-inf"),
        admits: bool = False,
        batches_successes: bool = False,
        fast: bool = False,
        since: float = 0.0,
    ) -> None:
        self.name = name
        self.state = state
        self.reason = RejectReason.FORCED if state is State.FORCED_OPEN else RejectReason.OPEN
        self.generation = generation
        self.until = self.rejects_until = until
        self.opened_at: float | None = None
        self.last_failure: str | None = None
        self.admits = admits
        self.batches_successes = batches_successes
        self.fast = fast
        self.live = True
        self.since = since
        self.started = 0
        self.succeeded = 0
        self.ignored = 0
        self.cancelled = 0
        self.asked = 0
        self.in_flight = 0
        self.rejected = 0
        self.full = 0

    def running(self) -> int:
        """The calls admitted here that haven't ended."""
        ended = self.succeeded + self.ignored + self.cancelled + self.asked
        return self.in_flight + self.started - ended

    def withdraw(self) -> None:
        """Take back the count of a call that never ran, or is part of another one."""
        self.started -= 1

    def permit(self) -> Permit:
        """A permit by which a call of this gate is settled by a message."""
        self.asked += 1
        return Permit(self.generation, 0)

    def records(self, permit: Permit | None) -> bool:
        """Whether a call is counted: not one that a disabled breaker let through, here or by a permit."""
        return self.state is not State.DISABLED if permit is None else permit.number != UNRECORDED

    def matches(
        self, generation: int, until: float, admits: bool, batches_successes: bool, fast: bool
    ) -> bool:
        """Whether the gate says this already, and needs no successor."""
        return (
            self.generation == generation
            and self.until == until
            and self.admits is admits
            and self.batches_successes is batches_successes
            and self.fast is fast
        )
