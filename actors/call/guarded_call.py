"""A guarded call from its admission to its end: permit, place in the bulkhead, timeout."""

from __future__ import annotations

from types import TracebackType

import trio
from trio.lowlevel import current_trio_token

from ..commands import ReleasePermit, Settle, Wake
from ..errors import OTHER_RUN, BulkheadFullError, CallTimeout, CircuitOpenError
from ..messages import NEVER, Outcome, Permit, Source, State
from .accounting import CallAccounting
from .bulkhead import Bulkhead
from .gate import Gate
from .nesting.held_call import HELD, HeldCall, running_held, running_task

USED = "a guard serves one block, once: get another one, `async with breaker.guard() as call:`"


class GuardedCall(HeldCall):
    """One call through a breaker: how it enters, and how the actor may end it.

    verdict: the outcome that the block has set; None: its end decides.
    outcome: the outcome as it was counted at the end; None before.
    cancelled_with: the exception with which the breaker has cancelled the call; None: it hasn't.
    timeout: seconds of `call_timeout`; deadline: when it ends the call; both inf without one.
    """

    __slots__ = (
        "_answered",
        "_begun",
        "_entered",
        "_error",
        "_excluded",
        "_gate",
        "_joined",
        "_nested_failure",
        "_permit",
        "_place",
        "_retry_after",
        "_scope",
        "_settled",
        "_source",
        "_start",
        "cancelled_with",
        "deadline",
        "outcome",
        "timeout",
        "verdict",
    )
    breaker: CallAccounting

    def __init__(self, breaker: CallAccounting, source: Source | None = None) -> None:
        # As HeldCall does: calling its __init__ would cost a twentieth of a guard.
        self.breaker = breaker
        self.running = False
        self._generator = None
        self._source = source
        self._gate: Gate = breaker.gate
        self._permit: Permit | None = None
        # `enter` was called; the block was begun.
        self._entered = self._begun = False
        # The call that this one is part of: True for an unregistered one, False for none.
        self._joined: HeldCall | bool = False
        self._nested_failure: str | None = None
        self._place: Bulkhead | None = None
        self._scope: trio.CancelScope | None = None
        self._start: float | None = None
        self._excluded = 0.0
        self._answered = False
        # The outcome that was settled before the call's end.
        self._settled: Outcome | None = None
        self.verdict: Outcome | None = None
        self._error: str | None = None
        self._retry_after: float | None = None
        self.outcome: Outcome | None = None
        self.cancelled_with: Exception | None = None
        self.timeout = self.deadline = NEVER

    @property
    def is_cancellable(self) -> bool:
        """Whether the breaker may cancel this call, by `call_timeout` or `cancel_in_flight`."""
        return self._scope is not None

    @property
    def is_timed_out(self) -> bool:
        """Whether `call_timeout` has ended this call, and it was counted as a failure."""
        # Nothing else settles a call as a failure before its end.
        return self._settled is Outcome.FAILURE

    def is_counted(self) -> bool:
        """Whether this call runs, and is counted at its end: by itself, or by the call that it has joined."""
        joined = self._joined
        return self.running and (joined.is_counted() if isinstance(joined, HeldCall) else True)

    def _duration(self) -> float | None:
        """Seconds since the call entered, less the excluded ones; None if they aren't measured."""
        if self._start is None:
            return None
        return max(0.0, self.breaker.clock() - self._start - self._excluded)

    # Entering.

    @trio.lowlevel.enable_ki_protection
    async def enter(self) -> None:
        """Get a permit and a place, or raise. Cancelling leaves the bulkhead's queue, and is neutral."""
        if self._entered:
            raise RuntimeError(USED)
        self._entered = True
        breaker = self.breaker
        self._task = task = running_task()
        if current_trio_token() is not breaker.token:
            raise RuntimeError(OTHER_RUN)
        if HELD.get() is not None or not self._gate.admits:
            self._joined = breaker.outer_call()
        if not self._joined:
            self._gate, self._permit = await breaker.admit(self._source)
            if breaker.bulkhead is not None:
                await self._take_place(breaker.bulkhead)
            if self._permit is None and self._gate.state is State.CLOSED:
                self._gate.started += 1
            if breaker.is_timed:
                self._start = breaker.clock()
            if breaker.is_scoped:
                self._open_scope()
        # As `hold` does.
        self._nurseries = len(task.child_nurseries)
        self.outer = running_held(HELD.get())
        self.running = True
        HELD.set(self)

    async def _take_place(self, bulkhead: Bulkhead) -> None:
        taken = bulkhead.take_nowait(self)
        if not taken and self._permit is None:
            taken = await self._queue(bulkhead)
        if not taken:
            if self._permit is not None:
                await self.breaker.mailbox.deliver(ReleasePermit(self._permit))
            self.breaker.gate.full += 1
            raise BulkheadFullError(self.breaker.name, bulkhead.places)
        self._place = bulkhead
        if self._permit is None and not self._gate.live:
            await self._admit_again()

    async def _queue(self, bulkhead: Bulkhead) -> bool:
        try:
            return await bulkhead.take(self)
        except trio.Cancelled:
            gate = self.breaker.gate
            if gate.state is not State.DISABLED:
                gate.started += 1
                gate.cancelled += 1
            raise

    async def _admit_again(self) -> None:
        """The breaker may have opened while this call waited for its place."""
        try:
            self._gate, self._permit = await self.breaker.admit(self._source)
        except BaseException:
            self._leave_place()
            raise

    def _open_scope(self) -> None:
        breaker = self.breaker
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        timeout = breaker.policy.call_timeout
        if timeout is not None:
            self.timeout, self.deadline = timeout, breaker.clock() + timeout
        assert breaker.in_flight_calls is not None
        breaker.in_flight_calls.add(self)
        if breaker.mailbox.closed:
            self.keep_own_timeout()
        breaker.mailbox.wake_by(self.deadline, Wake())

    # Ended by the actor: see InFlightCall.

    def time_out(self) -> Settle | None:
        """Cancel this call because its deadline has passed; the failure to count, None if none is counted."""
        assert self._scope is not None
        self.cancelled_with = CallTimeout(self.breaker.name, self.timeout)
        self._settled = Outcome.FAILURE
        self._scope.cancel()
        if not self._gate.records(self._permit):
            return None
        duration = max(0.0, self.timeout - self._excluded)
        if self.breaker.histogram is not None:
            # This runs in the actor's task, but the labels are those of the caller's context.
            self.breaker.histogram.observe(duration, self.context)
        permit = self._permit or self._gate.issue_settlement_permit()
        return Settle(permit, Outcome.FAILURE, duration, error="CallTimeout")

    def keep_own_timeout(self) -> None:
        """Have `call_timeout` end this call, uncounted: the actor has ended."""
        assert self._scope is not None
        if self.cancelled_with is None and self.deadline != NEVER:
            self.cancelled_with = CallTimeout(self.breaker.name, self.timeout)
            self._scope.deadline = self.deadline

    def cancel_with(self, error: CircuitOpenError) -> None:
        """Cancel this call because the breaker has opened; it raises `error`."""
        assert self._scope is not None
        self.cancelled_with = error
        self._scope.cancel()

    def lift_timeout(self) -> None:
        """Take the timeout away: `call_timeout` no longer ends this call."""
        if self.breaker.in_flight_calls is not None:
            self.breaker.in_flight_calls.lift_timeout(self)
        if self._scope is not None:
            self._scope.deadline = NEVER

    # Leaving.

    def _close_scope(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Exception | None:
        """Close the call's cancel scope; the exception with which the breaker has cancelled it, or None."""
        if self._scope is None:
            return None
        self._leave_in_flight_calls()
        self._scope.__exit__(kind, error, trace)
        return self.cancelled_with if self._scope.cancelled_caught else None

    def _leave_in_flight_calls(self) -> None:
        if self.breaker.in_flight_calls is not None:
            self.breaker.in_flight_calls.discard(self)

    def _leave_place(self) -> None:
        place = self._place
        if place is None:
            return
        if place.adaptive is not None and not (self._answered or self._settled is Outcome.SUCCESS):
            self._measure(Outcome.FAILURE if self.is_timed_out else self.outcome)
        place.release(self)
        self._place = None

    def _measure(self, outcome: Outcome | None) -> None:
        """Have the bulkhead's limit adapt to this call. Neutral and unrecorded calls are no samples."""
        if self._place is None or outcome not in (Outcome.SUCCESS, Outcome.FAILURE):
            return
        duration = self._duration()
        if duration is not None and self._gate.records(self._permit):
            failed = outcome is Outcome.FAILURE
            self._place.measure(duration, failed=failed, now=self.breaker.clock())
