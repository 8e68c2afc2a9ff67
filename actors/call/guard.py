"""One guarded call: admission, place, timeout, outcome, in this order, whatever the call style."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import trio
from trio.lowlevel import current_trio_token

from ..errors import BulkheadFullError, CallRejected, CallTimeout
from ..mailbox import OTHER_RUN
from ..messages import (
    Answered,
    FailSettled,
    Outcome,
    Permit,
    ReleasePermit,
    Settle,
    Source,
    State,
    Wake,
)
from .bulkhead import Bulkhead
from .classifier import kind_of
from .gate import Gate
from .nesting import HELD, HeldCall, running_held, running_task, withdrawn

if TYPE_CHECKING:
    from ..circuit_breaker import CircuitBreaker
    from ..errors import CircuitOpenError

T = TypeVar("T")

NEVER = float("inf")
USED = "a guard serves one block, once: get another one, `async with breaker.guard() as call:`"


class Guard(HeldCall):
    """`async with breaker.guard() as call:` for what isn't one awaited function. It serves one block.

    Entering raises CircuitOpenError, BulkheadFullError or PanelClosedError, and then counts nothing
    but the rejection; RuntimeError a second time, or in another trio.run than the breaker's. Leaving settles:
    an exception as the policy classifies it, Cancelled as neutral, else a success. It also raises CallTimeout
    where `call_timeout` ended the block.

    Inside of another call through the same breaker, in its task or a child task, a guard joins that call: it
    takes no permit and no place, and counts nothing by itself. A `fail()` is then reported to the outer call.
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
        "_verdict",
        "cancelled_with",
        "deadline",
        "outcome",
        "timeout",
    )

    def __init__(self, breaker: CircuitBreaker, source: Source | None = None) -> None:
        # As HeldCall does: to ask it would cost a twentieth of a guard.
        self.breaker = breaker
        self.running = False
        self._generator = None
        self._source = source
        self._gate: Gate = breaker._gate
        self._permit: Permit | None = None
        # `enter` was called; the block was begun.
        self._entered = self._begun = False
        self._joined: HeldCall | bool = False
        self._nested_failure: str | None = None
        self._place: Bulkhead | None = None
        self._scope: trio.CancelScope | None = None
        self._start: float | None = None
        self._excluded = 0.0
        self._answered = False
        self._settled: Outcome | None = None
        self._verdict: Outcome | None = None
        self._error: str | None = None
        self._retry_after: float | None = None
        self.outcome: Outcome | None = None
        self.cancelled_with: Exception | None = None
        self.timeout = self.deadline = NEVER

    # What the block may say.

    def fail(self, reason: str = "failed", *, retry_after: float | None = None) -> None:
        """This call is a failure, however the block ends; after `succeed`, one failure more.

        retry_after: seconds that the dependency asked to wait, as from the policy's `retry_after`.
        """
        self._verdict, self._error, self._retry_after = Outcome.FAILURE, reason, retry_after

    def ignore(self) -> None:
        """This call doesn't count, however the block ends."""
        self._verdict = Outcome.IGNORED

    def accept(self) -> None:
        """This call is a success, however the block ends: its exception is the dependency's answer."""
        self._verdict = Outcome.SUCCESS

    def succeed(self) -> None:
        """Settle as a success now, while the block goes on. `call_timeout` ends no settled call."""
        if self._joined or self._settled is not None or self._verdict is not None:
            return
        if self.breaker._settle_nowait(self):
            self._settled = Outcome.SUCCESS
            self.lift_timeout()
            self._leave_flights()
            # Its permit is settled: what follows is no longer part of it.
            self.end()

    def answered(self) -> None:
        """The dependency has answered, though the block goes on: `call_timeout` no longer ends it.

        A probe passes now, so a half-open breaker closes now and not when the block ends. An answer that took
        as long as the policy's threshold for slow calls is a failed probe. The call counts once, at its end:
        as a call of the closed breaker's new generation, or late where there has been another transition. In
        any other state nothing else changes. A second time, and after `fail`, `ignore` or `succeed`, it does
        nothing.
        """
        if self._joined or self._answered or self._settled is not None or self._verdict is not None:
            return
        self._answered = True
        self.lift_timeout()
        breaker, permit = self.breaker, self._permit
        if permit is not None and (permit.probe or self._gate.state is State.OBSERVING):
            breaker._actor.tell_soon(Answered(permit, self._duration()))

    def lift_timeout(self) -> None:
        """`call_timeout` no longer ends this call."""
        if self.breaker._in_flight_calls is not None:
            self.breaker._in_flight_calls.lift_timeout(self)
        if self._scope is not None:
            self._scope.deadline = NEVER

    def exclude(self, seconds: float) -> None:
        """Take time that wasn't spent waiting for the dependency out of the call's measured duration.

        seconds: ignored where they aren't above 0. The duration, by which SlowCallRate and the histogram go,
        is never below 0. `call_timeout` and `in_flight_slow` go by the clock.
        """
        if seconds > 0:
            self._excluded += seconds
            if isinstance(self._joined, Guard):
                self._joined.exclude(seconds)

    def _duration(self) -> float | None:
        if self._start is None:
            return None
        return max(0.0, self.breaker._clock() - self._start - self._excluded)

    def returned(self, value: Any) -> None:
        """Judge a returned value as `failure_result` does."""
        if self._verdict is None and self.breaker._classifier.result(value) is Outcome.FAILURE:
            self.fail(f"result {type(value).__name__}")
            self._retry_after = self.breaker._classifier.retry_after(value)

    async def run(self, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        """Await `fn(*args, **kwargs)` and judge its result. If the arguments don't fit, count nothing.

        Raises what `fn` raises. Cancellation reaches `fn`, and counts neither way.
        """
        try:
            result = await fn(*args, **kwargs)
        except TypeError as error:
            if withdrawn(error):
                self._settled = Outcome.IGNORED
                if not self._joined:
                    await self._give_back()
            raise
        self.returned(result)
        return result

    def is_counted(self) -> bool:
        """Whether this call runs, and is counted at its end: by itself, or by the call that it has joined."""
        joined = self._joined
        return self.running and (joined.is_counted() if isinstance(joined, HeldCall) else True)

    def falls_back(self, error: Exception) -> bool:
        """Whether `execute_with_fallback` serves this call, which has ended with `error`, by its fallback."""
        return isinstance(error, CallRejected | CallTimeout) or self.outcome is Outcome.FAILURE

    # Entering.

    async def __aenter__(self) -> Guard:
        if not self._entered:
            await self.enter()
        elif not self.running or self._begun:
            raise RuntimeError(USED)
        # `enter` by itself lets a caller tell the rejection from what the block raises.
        self._begun = True
        self.stay_within(sys._getframe(1))
        return self

    @trio.lowlevel.enable_ki_protection
    async def enter(self) -> None:
        """Get a permit and a place, or raise. Cancelling leaves the bulkhead's queue, and is neutral."""
        if self._entered:
            raise RuntimeError(USED)
        self._entered = True
        breaker = self.breaker
        self._task = task = running_task()
        if current_trio_token() is not breaker._token:
            raise RuntimeError(OTHER_RUN)
        if HELD.get() is not None or not self._gate.admits:
            self._joined = breaker._outer_call()
        if not self._joined:
            self._gate, self._permit = await breaker._admit(self._source)
            if breaker._bulkhead is not None:
                await self._take_place(breaker._bulkhead)
            if self._permit is None and self._gate.state is State.CLOSED:
                self._gate.started += 1
            if breaker._timed:
                self._start = breaker._clock()
            if breaker._scoped:
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
                await self.breaker._tell(ReleasePermit(self._permit))
            self.breaker._gate.full += 1
            raise BulkheadFullError(self.breaker.name, bulkhead.places)
        self._place = bulkhead
        if self._permit is None and not self._gate.live:
            await self._admit_again()

    async def _queue(self, bulkhead: Bulkhead) -> bool:
        try:
            return await bulkhead.take(self)
        except trio.Cancelled:
            gate = self.breaker._gate
            if gate.state is not State.DISABLED:
                gate.started += 1
                gate.cancelled += 1
            raise

    async def _admit_again(self) -> None:
        """The breaker may have opened while this call waited for its place."""
        try:
            self._gate, self._permit = await self.breaker._admit(self._source)
        except BaseException:
            self._leave_place()
            raise

    def _open_scope(self) -> None:
        breaker = self.breaker
        self._scope = trio.CancelScope()
        self._scope.__enter__()
        timeout = breaker._config.call_timeout
        if timeout is not None:
            self.timeout, self.deadline = timeout, breaker._clock() + timeout
        assert breaker._in_flight_calls is not None
        breaker._in_flight_calls.add(self)
        if breaker._actor.closed:
            self.end_by_itself()
        if self.deadline < breaker._actor.next_wakeup and breaker._actor.mailbox.tell(Wake()):
            breaker._actor.next_wakeup = self.deadline

    # Ended from outside, by the actor.

    def time_out(self) -> Settle | None:
        """The actor ends this call because its time is over, and counts it; None: nothing is counted."""
        assert self._scope is not None
        self.cancelled_with = CallTimeout(self.breaker.name, self.timeout)
        self._settled = Outcome.FAILURE
        self._scope.cancel()
        if not self._gate.records(self._permit):
            return None
        duration = max(0.0, self.timeout - self._excluded)
        if self.breaker._histogram is not None:
            # The caller sleeps, and the actor counts: what its callbacks find is to be the caller's.
            self.breaker._histogram.observe(duration, self.context)
        return Settle(self._permit or self._gate.permit(), Outcome.FAILURE, duration, error="CallTimeout")

    def end_by_itself(self) -> None:
        """The actor has ended: `call_timeout` ends this call all the same, though nothing counts it."""
        assert self._scope is not None
        if self.cancelled_with is None and self.deadline != NEVER:
            self.cancelled_with = CallTimeout(self.breaker.name, self.timeout)
            self._scope.deadline = self.deadline

    def cut_off(self, error: CircuitOpenError) -> None:
        """The actor ends this call because the breaker has opened."""
        assert self._scope is not None
        self.cancelled_with = error
        self._scope.cancel()

    # Leaving.

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        # As `end` does.
        self.running = False
        if HELD.get() is self:
            HELD.set(running_held(self.outer))
        if self._joined:
            await self._report_to_outer(error)
            return False
        cancelled_with = self._close_scope(kind, error, trace)
        try:
            if isinstance(error, GeneratorExit):
                self._abandon()
            else:
                await self._settle(None if cancelled_with is not None else error, cancelled_with)
        finally:
            self._leave_place()
        if cancelled_with is not None:
            raise cancelled_with from None
        return False

    def _close_scope(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Exception | None:
        if self._scope is None:
            return None
        self._leave_flights()
        self._scope.__exit__(kind, error, trace)
        return self.cancelled_with if self._scope.cancelled_caught else None

    def _leave_flights(self) -> None:
        if self.breaker._in_flight_calls is not None:
            self.breaker._in_flight_calls.discard(self)

    async def _report_to_outer(self, error: BaseException | None) -> None:
        """Report a verdict that the outer call, which counts, can't see. The last report stands.

        The outer call may have ended before; then a failure of this one is one failure more of it.
        """
        self.outcome, reason = self._outcome(error, None)
        outer = self._joined
        if not isinstance(outer, Guard):
            return
        if not outer.running and self.outcome is Outcome.FAILURE:
            await outer._fail_again(reason)
        elif error is None or self._verdict is not None:
            outer._nested_failure = reason if self.outcome is Outcome.FAILURE else None

    async def _fail_again(self, reason: str | None) -> None:
        if self._gate.records(self._permit):
            permit = self._permit or Permit(self._gate.generation, 0)
            await self.breaker._tell(FailSettled(permit, reason))

    async def _settle(self, error: BaseException | None, cancelled_with: Exception | None) -> None:
        breaker = self.breaker
        outcome, reason = self._outcome(error, cancelled_with)
        self.outcome = outcome
        is_tallied = self._permit is None and self._gate.records(None)
        if outcome is Outcome.FAILURE and is_tallied:
            # A permit is asked for, and then an outer call is seen.
            runs = self._settled is None
            if error is not None and breaker._is_within(self._gate, error, own=0, runs=runs):
                if runs:
                    await self._give_back()
                return
        if self._settled is Outcome.SUCCESS:
            if outcome is Outcome.FAILURE:
                await self._fail_again(reason)
        elif self._settled is None:
            await breaker._settle(
                self._gate, self._permit, outcome, self._duration(), self._retry_after, reason
            )

    def _outcome(
        self, error: BaseException | None, cancelled_with: Exception | None
    ) -> tuple[Outcome, str | None]:
        if self._settled is Outcome.IGNORED:
            return Outcome.IGNORED, None
        if self._verdict is not None and not isinstance(error, trio.Cancelled):
            return self._verdict, self._error
        if cancelled_with is not None:
            return Outcome.CANCELLED, None
        if error is None:
            nested = self._nested_failure
            return (Outcome.SUCCESS, None) if nested is None else (Outcome.FAILURE, nested)
        classifier = self.breaker._classifier
        outcome = classifier.exception(error)
        if outcome is Outcome.FAILURE:
            self._retry_after = classifier.retry_after(error)
        elif outcome is Outcome.IGNORED and self._nested_failure is not None:
            return Outcome.FAILURE, self._nested_failure
        return outcome, kind_of(error)

    async def _give_back(self) -> None:
        if self._permit is not None:
            await self.breaker._tell(ReleasePermit(self._permit))
        elif self._gate.records(None):
            self._gate.withdraw()

    def _abandon(self) -> None:
        """The coroutine is being closed: nothing may be awaited here."""
        if self._settled is not None or not self._gate.records(self._permit):
            return
        if self._permit is not None:
            self.breaker._actor.mailbox.tell(Settle(self._permit, Outcome.CANCELLED))
        else:
            self._gate.cancelled += 1

    def _leave_place(self) -> None:
        if self._place is not None:
            self._place.release(self)
            self._place = None
