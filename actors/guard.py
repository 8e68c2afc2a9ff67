"""One guarded call: admission, place, timeout, outcome, in this order, whatever the call style."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import trio

from actors.bulkhead import Bulkhead
from actors.classify import kind_of
from actors.errors import BulkheadFullError, CallTimeout, CircuitOpenError
from actors.gate import Gate
from protocols.breaker import (
    Answered,
    FailAgain,
    GiveBack,
    Look,
    Outcome,
    Permit,
    RejectReason,
    Settle,
    Source,
    State,
)

if TYPE_CHECKING:
    from actors.handle import CircuitBreaker

NEVER = float("inf")


class Guard:
    """`async with breaker.guard() as call:` for what isn't one awaited function.

    Entering raises CircuitOpenError, BulkheadFullError or PanelClosedError, and then counts nothing
    but the rejection. Leaving settles: an exception as the policy classifies it, Cancelled as
    neutral, else a success. It also raises CallTimeout where `call_timeout` ended the block.
    """

    __slots__ = (
        "_answered",
        "_breaker",
        "_entered",
        "_error",
        "_excluded",
        "_gate",
        "_permit",
        "_place",
        "_retry_after",
        "_scope",
        "_settled",
        "_source",
        "_start",
        "_verdict",
        "cut",
        "due",
        "timeout",
    )

    def __init__(self, breaker: CircuitBreaker, source: Source | None = None) -> None:
        self._breaker = breaker
        self._source = source
        self._gate: Gate = breaker._gate
        self._permit: Permit | None = None
        self._entered = False
        self._place: Bulkhead | None = None
        self._scope: trio.CancelScope | None = None
        self._start: float | None = None
        self._excluded = 0.0
        self._answered = False
        self._settled: Outcome | None = None
        self._verdict: Outcome | None = None
        self._error: str | None = None
        self._retry_after: float | None = None
        self.cut: Exception | None = None
        self.timeout = self.due = NEVER

    # What the block may say.

    def fail(self, reason: str = "failed", *, retry_after: float | None = None) -> None:
        """This call is a failure, however the block ends; after `succeed`, one failure more.

        retry_after: seconds that the dependency asked to wait, as from the policy's `retry_after`.
        """
        self._verdict, self._error, self._retry_after = Outcome.FAILURE, reason, retry_after

    def ignore(self) -> None:
        """This call doesn't count, however the block ends."""
        self._verdict = Outcome.IGNORED

    def succeed(self) -> None:
        """Settle as a success now, while the block goes on. `call_timeout` ends no settled call."""
        if self._settled is None and self._verdict is None and self._breaker._settle_nowait(self):
            self._settled = Outcome.SUCCESS
            self._leave_flights()

    def answered(self) -> None:
        """The dependency has answered, though the block goes on: `call_timeout` no longer ends it.

        A probe passes now, so a half-open breaker closes now and not when the block ends. An answer that took
        as long as the policy's threshold for slow calls is a failed probe. The call counts once, at its end:
        as a call of the closed breaker's new generation, or late where there has been another transition. In
        any other state nothing else changes. A second time, and after `fail`, `ignore` or `succeed`, it does
        nothing.
        """
        if self._answered or self._settled is not None or self._verdict is not None:
            return
        self._answered = True
        self.lift_timeout()
        breaker, permit = self._breaker, self._permit
        if permit is not None and (permit.probe or self._gate.state is State.OBSERVING):
            breaker._actor.tell_soon(Answered(permit, self._duration()))

    def lift_timeout(self) -> None:
        """`call_timeout` no longer ends this call."""
        if self._breaker._flights is not None:
            self._breaker._flights.lift_timeout(self)

    def exclude(self, seconds: float) -> None:
        """Take time that wasn't spent waiting for the dependency out of the call's measured duration.

        seconds: ignored where they aren't above 0. The duration, by which SlowCallRate and the histogram go,
        is never below 0. `call_timeout` and `in_flight_slow` go by the clock.
        """
        if seconds > 0:
            self._excluded += seconds

    def _duration(self) -> float | None:
        if self._start is None:
            return None
        return max(0.0, self._breaker._clock() - self._start - self._excluded)

    def returned(self, value: Any) -> None:
        """Judge a returned value as `failure_result` does."""
        if self._verdict is None and self._breaker._classifier.result(value) is Outcome.FAILURE:
            self.fail(f"result {type(value).__name__}")
            self._retry_after = self._breaker._classifier.retry_after(value)

    # Entering.

    async def __aenter__(self) -> Guard:
        if not self._entered:
            await self.enter()
        return self

    @trio.lowlevel.enable_ki_protection
    async def enter(self) -> None:
        """Get leave and a place, or raise. Cancelling leaves the bulkhead's queue, and counts neither way."""
        breaker = self._breaker
        self._gate, self._permit = await breaker._admit(self._source)
        if breaker._bulkhead is not None:
            await self._take_place(breaker._bulkhead)
        if self._permit is None and self._gate.state is State.CLOSED:
            self._gate.started += 1
        self._entered = True
        if breaker._timed:
            self._start = breaker._clock()
        if breaker._scoped:
            self._open_scope()

    async def _take_place(self, bulkhead: Bulkhead) -> None:
        taken = bulkhead.take_nowait(self)
        if not taken and self._permit is None:
            taken = await self._queue(bulkhead)
        if not taken:
            if self._permit is not None:
                await self._breaker._tell(GiveBack(self._permit))
            self._breaker._gate.full += 1
            raise BulkheadFullError(self._breaker.name, bulkhead.places)
        self._place = bulkhead
        if self._permit is None and not self._gate.live:
            await self._admit_again()

    async def _queue(self, bulkhead: Bulkhead) -> bool:
        try:
            return await bulkhead.take(self)
        except trio.Cancelled:
            gate = self._breaker._gate
            if gate.state is not State.DISABLED:
                gate.started += 1
                gate.cancelled += 1
            raise

    async def _admit_again(self) -> None:
        """The breaker may have opened while this call waited for its place."""
        try:
            self._gate, self._permit = await self._breaker._admit(self._source)
        except BaseException:
            self._leave_place()
            raise

    def _open_scope(self) -> None:
        breaker = self._breaker
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        timeout = breaker.config.call_timeout
        if timeout is not None:
            self.timeout, self.due = timeout, breaker._clock() + timeout
        assert breaker._flights is not None
        breaker._flights.add(self)
        if self.due < breaker._actor.asleep_until and breaker._actor.mailbox.tell(Look()):
            breaker._actor.asleep_until = self.due

    # Ended from outside, by the actor.

    def time_out(self) -> Settle | None:
        """The actor ends this call because its time is over, and counts it; None: nothing is counted."""
        assert self._scope is not None
        self.cut = CallTimeout(self._breaker.name, self.timeout)
        self._settled = Outcome.FAILURE
        self._scope.cancel()
        if not self._gate.records(self._permit):
            return None
        duration = max(0.0, self.timeout - self._excluded)
        if self._breaker._meter is not None:
            self._breaker._meter.observe(duration)
        return Settle(self._permit or self._gate.permit(), Outcome.FAILURE, duration, error="CallTimeout")

    def cut_off(self, state: State, retry_after: float | None) -> None:
        """The actor ends this call because the breaker has opened."""
        assert self._scope is not None
        self.cut = CircuitOpenError(self._breaker.name, state, retry_after, RejectReason.OPEN)
        self._scope.cancel()

    # Leaving.

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        cut = self._close_scope(kind, error, trace)
        try:
            if isinstance(error, GeneratorExit):
                self._abandon()
            else:
                await self._settle(None if cut is not None else error, cut)
        finally:
            self._leave_place()
        if cut is not None:
            raise cut from None
        return False

    def _close_scope(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Exception | None:
        if self._scope is None:
            return None
        self._leave_flights()
        self._scope.__exit__(kind, error, trace)
        return self.cut if self._scope.cancelled_caught else None

    def _leave_flights(self) -> None:
        if self._breaker._flights is not None:
            self._breaker._flights.discard(self)

    async def _settle(self, error: BaseException | None, cut: Exception | None) -> None:
        outcome, reason = self._outcome(error, cut)
        breaker = self._breaker
        if self._settled is Outcome.SUCCESS:
            if outcome is Outcome.FAILURE and self._gate.records(self._permit):
                permit = self._permit or Permit(self._gate.generation, 0)
                await breaker._tell(FailAgain(permit, reason))
        elif self._settled is None:
            await breaker._settle(
                self._gate, self._permit, outcome, self._duration(), self._retry_after, reason
            )

    def _outcome(self, error: BaseException | None, cut: Exception | None) -> tuple[Outcome, str | None]:
        if self._verdict is not None and not isinstance(error, trio.Cancelled):
            return self._verdict, self._error
        if cut is not None:
            return Outcome.CANCELLED, None
        if error is None:
            return Outcome.SUCCESS, None
        classifier = self._breaker._classifier
        outcome = classifier.exception(error)
        if outcome is Outcome.FAILURE:
            self._retry_after = classifier.retry_after(error)
        return outcome, kind_of(error)

    def _abandon(self) -> None:
        """The coroutine is being closed: nothing may be awaited here."""
        if self._settled is not None or not self._gate.records(self._permit):
            return
        if self._permit is not None:
            self._breaker._actor.mailbox.tell(Settle(self._permit, Outcome.CANCELLED))
        else:
            self._gate.cancelled += 1

    def _leave_place(self) -> None:
        if self._place is not None:
            self._place.release(self)
            self._place = None
