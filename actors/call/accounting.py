"""How a call is admitted and its outcome settled: the part of the handle that guard and actor use.

It runs in the callers' frames. KeyboardInterrupt waits until it has finished.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import trio

from ..errors import CircuitOpenError, PanelClosedError
from ..machine.statistics import Histogram
from ..mailbox import OTHER_RUN
from ..messages import Acquire, Outcome, Permit, Rejection, Settle, Source
from ..policy.config import CircuitBreakerConfig
from .bulkhead import Bulkhead
from .classifier import Classifier, kind_of
from .gate import Gate
from .in_flight import InFlightCalls
from .nesting import HeldCall, fast_calls, held_call, is_marked, mark_counted, was_counted, withdrawn

if TYPE_CHECKING:
    from ..breaker_actor import BreakerActor
    from .guard import Guard


class CallAccounting:
    """Admits and settles calls: by the gate where that is enough, else by a message to the actor."""

    __slots__ = (
        "_actor",
        "_bulkhead",
        "_classifier_made",
        "_clock",
        "_config",
        "_gate",
        "_histogram",
        "_in_flight_calls",
        "_plain",
        "_scoped",
        "_slow",
        "_tallying",
        "_timed",
        "_token",
        "name",
    )

    def __init__(
        self, config: CircuitBreakerConfig, actor: BreakerActor, histogram: Histogram | None
    ) -> None:
        self.name = config.name
        self._actor = actor
        self._clock = actor.clock
        self._token = trio.lowlevel.current_trio_token()
        self._gate = Gate(config.name)
        self._histogram = histogram
        # What few breakers need is made when it is first needed: ten thousand of them may be idle.
        self._in_flight_calls: InFlightCalls | None = None
        self._bulkhead: Bulkhead | None = None
        self._take(config)

    def _take(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self._classifier_made: Classifier | None = None
        self._slow = config.strategy.slow_threshold
        self._timed = self._histogram is not None or self._slow is not None
        self._scoped = config.call_timeout is not None or config.cancel_in_flight
        if self._scoped and self._in_flight_calls is None:
            self._in_flight_calls = InFlightCalls()
        if config.max_concurrent is None:
            if self._bulkhead is not None:
                self._bulkhead.lift()
            self._bulkhead = None
        elif self._bulkhead is None:
            self._bulkhead = Bulkhead(config.max_concurrent, config.max_queue, config.queue_timeout)
        else:
            self._bulkhead.configure(config.max_concurrent, config.max_queue, config.queue_timeout)
        tallying = not (self._scoped or self._bulkhead is not None or config.failure_result is not None)
        # A success that may trip must not be tallied behind the actor's back, and one that is timed is
        # tallied by its duration.
        self._plain = tallying and not self._timed and config.strategy.ignores_successes
        self._tallying = tallying and not self._plain

    @property
    def _classifier(self) -> Classifier:
        if self._classifier_made is None:
            self._classifier_made = Classifier(self._config)
        return self._classifier_made

    def _check_run(self, gate: Gate | None = None, error: BaseException | None = None) -> None:
        """Raises RuntimeError in another trio.run than the panel's, with `error` as its cause.

        gate: what has admitted the call that runs; it isn't counted then.
        """
        if self._actor.mailbox.is_home():
            return
        if gate is not None:
            self._actor.mailbox.call_home(gate.withdraw)
        raise RuntimeError(OTHER_RUN) from error

    @trio.lowlevel.enable_ki_protection
    async def _admit(self, source: Source | None) -> tuple[Gate, Permit | None]:
        gate = self._gate
        if gate.admits:
            return gate, None
        now = self._clock()
        if now < gate.until:
            gate.rejected += 1
            raise CircuitOpenError(gate, now)
        answer: Permit | Rejection = await self._actor.mailbox.ask(Acquire(source=source))
        if isinstance(answer, Rejection):
            gate = self._gate
            open_for = None if gate.opened_at is None else self._clock() - gate.opened_at
            raise CircuitOpenError(
                self.name, answer.state, answer.retry_after, answer.reason, gate.last_failure, open_for
            )
        return self._gate, answer

    def _outer_call(self) -> HeldCall | bool:
        """The running call that a new one would join: True for an unregistered one, False without one."""
        held = held_call(self)
        if held is not None:
            return held
        gate = self._gate
        # While calls are admitted without asking, one within another is seen when it fails.
        if gate.admits or not self._actor.has_retired_calls:
            return False
        return next(fast_calls(self), None) is not None

    def _is_outside(self) -> bool:
        """Whether the running code is inside of no call through this breaker."""
        self._check_run()
        return not self._outer_call()

    def _is_within(self, gate: Gate, error: BaseException, *, own: int, runs: bool = True) -> bool:
        """Whether another call counts, or has counted, the failure of a call that `gate` admitted.

        If not, the failure is marked for the calls of parent tasks. own: 1 if the failed call is itself an
        unregistered one, and so is among those found. runs: whether it is among those that haven't ended.
        """
        if held_call(self) is not None:
            return True
        others_run = gate.running() > runs or self._actor.has_retired_calls
        if not (others_run or (own and is_marked(error))):
            return False
        calls = list(islice(fast_calls(self), own + 1))
        if len(calls) > own or (own and calls and was_counted(calls[0], error, self._counts)):
            return True
        if others_run:
            mark_counted(self, error)
        return False

    def _counts(self, error: BaseException) -> bool:
        return self._classifier.exception(error) is Outcome.FAILURE

    @trio.lowlevel.enable_ki_protection
    async def _raised(self, gate: Gate, error: BaseException, start: float | None = None) -> None:
        if isinstance(error, trio.Cancelled | GeneratorExit):
            gate.cancelled += 1
            return
        if withdrawn(error):
            gate.withdraw()
            return
        outcome = self._classifier.exception(error)
        if outcome is Outcome.FAILURE:
            await self._failed(gate, error, start)
        elif outcome is Outcome.SUCCESS:
            await self._settle(gate, None, outcome, None if start is None else self._clock() - start)
        elif outcome is Outcome.IGNORED:
            gate.ignored += 1
            if start is not None and self._histogram is not None:
                self._histogram.observe(self._clock() - start)
        else:
            gate.cancelled += 1

    async def _failed(self, gate: Gate, error: BaseException, start: float | None) -> None:
        self._check_run(gate, error)
        if self._is_within(gate, error, own=1):
            gate.withdraw()
            return
        wait = self._classifier.retry_after(error)
        duration = None if start is None else self._clock() - start
        await self._settle(gate, None, Outcome.FAILURE, duration, wait, kind_of(error))

    @trio.lowlevel.enable_ki_protection
    async def _settle(
        self,
        gate: Gate,
        permit: Permit | None,
        outcome: Outcome,
        duration: float | None = None,
        retry_after: float | None = None,
        error: str | None = None,
    ) -> None:
        if not gate.records(permit):
            return
        if duration is not None and self._histogram is not None and outcome is not Outcome.CANCELLED:
            self._histogram.observe(duration)
        if permit is None:
            if self._tallied(gate, outcome, duration):
                return
            permit = gate.permit()
        await self._tell(Settle(permit, outcome, duration, retry_after, error))

    def _settle_nowait(self, guard: Guard) -> bool:
        """Settle a success before its call has ended; False where it can't be done at once."""
        gate, permit, duration = guard._gate, guard._permit, guard._duration()
        if not gate.records(permit):
            return True
        if permit is not None:
            settled = self._actor.mailbox.tell(Settle(permit, Outcome.SUCCESS, duration))
        elif not (settled := self._tallied(gate, Outcome.SUCCESS, duration)):
            settled = self._actor.mailbox.tell(Settle(Permit(gate.generation, 0), Outcome.SUCCESS, duration))
            gate.asked += settled
        if settled and duration is not None and self._histogram is not None:
            self._histogram.observe(duration)
        return settled

    def _tallied(self, gate: Gate, outcome: Outcome, duration: float | None) -> bool:
        """Whether no message is needed: only the actor's watchers want to hear of neutral outcomes."""
        if not (gate.live and gate.batches_successes):
            return False
        match outcome:
            case Outcome.SUCCESS if self._slow is None or (duration is not None and duration < self._slow):
                gate.succeeded += 1
            case Outcome.IGNORED:
                gate.ignored += 1
            case Outcome.CANCELLED:
                gate.cancelled += 1
            case _:
                return False
        return True

    @trio.lowlevel.enable_ki_protection
    async def _tell(self, message: Any) -> None:
        """Ask the actor, and ignore PanelClosedError: the call's own result or exception matters more."""
        try:
            await self._actor.mailbox.ask(message)
        except PanelClosedError:
            pass
