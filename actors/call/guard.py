"""The guard of one call: the block's own verdicts, and the settlement at its end."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, TypeVar

import trio

from ..commands import Answered, FailSettled, ReleasePermit, Settle
from ..errors import CallRejected, CallTimeout
from ..messages import Outcome, State
from .classifier import kind_of, never_began
from .guarded_call import USED, GuardedCall
from .nesting.held_call import HELD, running_held

T = TypeVar("T")


class Guard(GuardedCall):
    """`async with breaker.guard() as call:` for what isn't one awaited function. It serves one block.

    Entering raises CircuitOpenError, BulkheadFullError or PanelClosedError, and then counts nothing
    but the rejection; RuntimeError a second time, or in another trio.run than the breaker's. Leaving settles:
    an exception as the policy classifies it, Cancelled as neutral, else a success. It also raises CallTimeout
    if `call_timeout` ended the block.

    Inside of another call through the same breaker, in its task or a child task, a guard joins that call: it
    takes no permit and no place, and counts nothing by itself. A `fail()` is then reported to the outer call.
    """

    __slots__ = ()

    # For the block.

    def fail(self, reason: str = "failed", *, retry_after: float | None = None) -> None:
        """This call is a failure, however the block ends; after `succeed`, one failure more.

        retry_after: seconds that the dependency asked to wait, as from the policy's `retry_after`.
        """
        self.verdict, self._error, self._retry_after = Outcome.FAILURE, reason, retry_after

    def ignore(self) -> None:
        """This call doesn't count, however the block ends."""
        self.verdict = Outcome.IGNORED

    def accept(self) -> None:
        """This call is a success, however the block ends: its exception is the dependency's answer."""
        self.verdict = Outcome.SUCCESS

    def succeed(self) -> None:
        """Settle as a success now, while the block goes on. `call_timeout` ends no settled call."""
        if self._joined or self._settled is not None or self.verdict is not None:
            return
        if self.breaker.try_settle_success(self._gate, self._permit, self._duration()):
            self._settled = Outcome.SUCCESS
            self._measure(Outcome.SUCCESS)
            self.lift_timeout()
            self._leave_in_flight_calls()
            # Its permit is settled: later calls in the block are no longer part of it.
            self.end()

    def answered(self) -> None:
        """The dependency has answered, though the block goes on: `call_timeout` no longer ends it.

        A probe passes now, so a half-open breaker closes now and not when the block ends. An answer that took
        as long as the policy's threshold for slow calls is a failed probe. The call counts once, at its end:
        as a call of the closed breaker's new generation, or late if there has been another transition. In
        any other state nothing else changes. A second time, and after `fail`, `ignore` or `succeed`, it does
        nothing.
        """
        if self._joined or self._answered or self._settled is not None or self.verdict is not None:
            return
        self._answered = True
        self._measure(Outcome.SUCCESS)
        self.lift_timeout()
        permit = self._permit
        if permit is not None and (permit.probe or self._gate.state is State.OBSERVING):
            self.breaker.mailbox.send_soon(Answered(permit, self._duration()))

    def exclude(self, seconds: float) -> None:
        """Take time that wasn't spent waiting for the dependency out of the call's measured duration.

        seconds: ignored unless above 0. SlowCallRate and the histogram use the duration, which is never below
        0. `call_timeout` and `in_flight_slow` go by the clock.
        """
        if seconds > 0:
            self._excluded += seconds
            if isinstance(self._joined, Guard):
                self._joined.exclude(seconds)

    # For call styles.

    def returned(self, value: Any) -> None:
        """Judge a returned value as `failure_result` does."""
        if self.verdict is None and self.breaker.classifier.result(value) is Outcome.FAILURE:
            self.fail(f"result {type(value).__name__}")
            self._retry_after = self.breaker.classifier.retry_after(value)

    async def run(self, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        """Await `fn(*args, **kwargs)` and judge its result. If the arguments don't fit, count nothing.

        Raises what `fn` raises. Cancellation reaches `fn`, and counts neither way.
        """
        try:
            result = await fn(*args, **kwargs)
        except TypeError as error:
            if never_began(error):
                self._settled = Outcome.IGNORED
                if not self._joined:
                    await self._give_back()
            raise
        self.returned(result)
        return result

    def falls_back(self, error: Exception) -> bool:
        """Whether `execute_with_fallback` serves this call, which has ended with `error`, by its fallback."""
        return isinstance(error, CallRejected | CallTimeout) or self.outcome is Outcome.FAILURE

    async def __aenter__(self) -> Guard:
        if not self._entered:
            await self.enter()
        elif not self.running or self._begun:
            raise RuntimeError(USED)
        # A caller that calls `enter` itself can distinguish the rejection from an exception of the block.
        self._begun = True
        self.stay_within(sys._getframe(1))
        return self

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

    # Settling.

    async def _report_to_outer(self, error: BaseException | None) -> None:
        self.outcome, reason = self._outcome(error, None)
        if isinstance(self._joined, Guard):
            is_report = error is None or self.verdict is not None
            await self._joined.take_report(self.outcome, reason, replaces=is_report)

    async def take_report(self, outcome: Outcome, reason: str | None, *, replaces: bool) -> None:
        """Take the outcome of a guard that had joined this call. The last report stands.

        If this call has ended before, a failure is one failure more of it. replaces: the outcome wasn't an
        exception's, which this call may see itself.
        """
        if not self.running and outcome is Outcome.FAILURE:
            await self._fail_again(reason)
        elif replaces:
            self._nested_failure = reason if outcome is Outcome.FAILURE else None

    async def _fail_again(self, reason: str | None) -> None:
        if self._gate.records(self._permit):
            permit = self._permit or self._gate.permit()
            await self.breaker.mailbox.deliver(FailSettled(permit, reason))

    async def _settle(self, error: BaseException | None, cancelled_with: Exception | None) -> None:
        breaker = self.breaker
        outcome, reason = self._outcome(error, cancelled_with)
        self.outcome = outcome
        is_counted_on_gate = self._permit is None and self._gate.records(None)
        if outcome is Outcome.FAILURE and is_counted_on_gate:
            # With a permit an outer call was found when the permit was acquired.
            runs = self._settled is None
            if error is not None and breaker.is_within(self._gate, error, own=0, runs=runs):
                if runs:
                    await self._give_back()
                return
        if self._settled is Outcome.SUCCESS:
            if outcome is Outcome.FAILURE:
                await self._fail_again(reason)
        elif self._settled is None:
            await breaker.settle(
                self._gate, self._permit, outcome, self._duration(), self._retry_after, reason
            )

    def _outcome(
        self, error: BaseException | None, cancelled_with: Exception | None
    ) -> tuple[Outcome, str | None]:
        if self._settled is Outcome.IGNORED:
            return Outcome.IGNORED, None
        if self.verdict is not None and not isinstance(error, trio.Cancelled):
            return self.verdict, self._error
        if cancelled_with is not None:
            return Outcome.CANCELLED, None
        if error is None:
            nested = self._nested_failure
            return (Outcome.SUCCESS, None) if nested is None else (Outcome.FAILURE, nested)
        classifier = self.breaker.classifier
        outcome = classifier.exception(error)
        if outcome is Outcome.FAILURE:
            self._retry_after = classifier.retry_after(error)
        elif outcome is Outcome.IGNORED and self._nested_failure is not None:
            return Outcome.FAILURE, self._nested_failure
        return outcome, kind_of(error)

    async def _give_back(self) -> None:
        if self._permit is not None:
            await self.breaker.mailbox.deliver(ReleasePermit(self._permit))
        elif self._gate.records(None):
            self._gate.withdraw()

    def _abandon(self) -> None:
        """The coroutine is being closed: nothing may be awaited here."""
        if self._settled is not None or not self._gate.records(self._permit):
            return
        if self._permit is not None:
            self.breaker.mailbox.try_send(Settle(self._permit, Outcome.CANCELLED))
        else:
            self._gate.cancelled += 1
