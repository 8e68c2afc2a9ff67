"""The gate: what the actor publishes of one generation, so that most calls need no message."""

from __future__ import annotations

from ..messages import UNRECORDED, Permit, Rejection, RejectReason, State


class _CallCounts:
    """The counts that each of the fastest calls writes. A base, so that they come first in memory."""

    __slots__ = ("started", "succeeded")


class Gate(_CallCounts):
    """Read by callers, retired by the actor. Callers write only its counts.

    The counts are conflated messages: of any number of calls that changed nothing, only the number is kept,
    and the actor folds it in before it handles anything else. A retired gate is folded too, as long as calls
    run that it admitted.

    fast: the breaker is CLOSED, and a call needs no more than two counts.
    live: this is the published gate.
    admits: calls are admitted without a message.
    batches_successes: successes are counted here, without a message.
    until: the end of the wait while OPEN; -inf while calls are admitted or probed for.
    rejects_until: the time until which calls are rejected at once, for `reason`, without any other check;
        -inf if a call may be part of an earlier one that still runs.
    settled_by_message: calls admitted here that were settled by a message.
    in_flight: calls admitted here that hadn't ended when the counts were last taken.
    shadow: the answer of the shadow policy to the calls admitted here; None without one.
    """

    __slots__ = (
        "admits",
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
        "settled_by_message",
        "shadow",
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
        shadow: Permit | Rejection | None = None,
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
        self.shadow = shadow
        self.started = 0
        self.succeeded = 0
        self.ignored = 0
        self.cancelled = 0
        self.settled_by_message = 0
        self.in_flight = 0
        self.rejected = 0
        self.full = 0

    # For callers.

    def running(self) -> int:
        """The number of calls admitted here that haven't ended."""
        ended = self.succeeded + self.ignored + self.cancelled + self.settled_by_message
        return self.in_flight + self.started - ended

    def withdraw(self) -> None:
        """Uncount the start of a call that never ran, or is part of another one."""
        self.started -= 1

    def issue_settlement_permit(self) -> Permit:
        """A permit by which a call of this gate is settled by a message."""
        self.settled_by_message += 1
        return self.permit()

    def permit(self) -> Permit:
        """The permit of a call that was admitted here."""
        return Permit(self.generation, 0, False, self.shadow)

    def records(self, permit: Permit | None) -> bool:
        """Whether a call is counted: False if a disabled breaker admitted it, here or by a permit."""
        return self.state is not State.DISABLED if permit is None else permit.number != UNRECORDED

    # For the actor.

    def take_counts(self) -> tuple[int, int, int, int] | None:
        """The calls that started, succeeded, were ignored and were cancelled since the last time.

        None if there are none. The counts start again at 0.
        """
        started, succeeded, ignored, cancelled = self.started, self.succeeded, self.ignored, self.cancelled
        self.in_flight += started - succeeded - ignored - cancelled - self.settled_by_message
        self.started = self.succeeded = self.ignored = self.cancelled = self.settled_by_message = 0
        if not (started or succeeded or ignored or cancelled):
            return None
        return started, succeeded, ignored, cancelled

    def take_rejections(self) -> dict[RejectReason, int]:
        """The numbers of calls rejected here since they were last taken. They start again at 0."""
        rejections = {self.reason: self.rejected, RejectReason.BULKHEAD: self.full}
        self.rejected = self.full = 0
        return rejections

    def set_rejections(self, opened_at: float | None, last_failure: str | None, may_be_within: bool) -> None:
        """Publish the facts for rejections. may_be_within: a call may be part of a running one."""
        self.opened_at, self.last_failure = opened_at, last_failure
        self.rejects_until = float("-inf") if may_be_within else self.until

    def has_content(
        self,
        generation: int,
        until: float,
        admits: bool,
        batches_successes: bool,
        fast: bool,
        shadow: Permit | Rejection | None,
    ) -> bool:
        """Whether the gate has these values already, and needs no successor."""
        return (
            self.generation == generation
            and self.until == until
            and self.admits is admits
            and self.batches_successes is batches_successes
            and self.fast is fast
            and self.shadow == shadow
        )
