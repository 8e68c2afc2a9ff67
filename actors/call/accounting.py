"""How calls are admitted and their outcomes settled. It runs in the callers' frames.

KeyboardInterrupt waits until it has finished.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import trio

from ..commands import Acquire, Settle
from ..errors import OTHER_RUN, CircuitOpenError
from ..machine.statistics import Histogram
from ..mailbox import Mailbox
from ..messages import Outcome, Permit, Rejection, Source
from ..policy.adaptive_limit import AdaptiveLimit
from ..policy.config import CircuitBreakerConfig
from .bulkhead import Bulkhead
from .classifier import Classifier, kind_of, never_began
from .gate import Gate
from .in_flight import InFlightCalls
from .nesting.counted_failures import is_marked, mark_counted, was_counted
from .nesting.fast_calls import fast_calls
from .nesting.held_call import HeldCall, held_call
from .published import PublishedState


class CallAccounting(PublishedState):
    """Admits and settles calls: by the gate if that is enough, else by a message to the actor.

    policy: the policy in force. bulkhead: None if the policy has none.
    in_flight_calls: the calls that the actor may have to end; None if no policy has needed it.
    clock: returns the panel's time. token: of the panel's trio.run.
    is_timed: each call's duration is measured. is_scoped: each call has a cancel scope.
    allows_fast_path: the policy needs no more of a call in CLOSED than two counts.
    """

    __slots__ = (
        "_batches",
        "_classifier",
        "_slow",
        "allows_fast_path",
        "bulkhead",
        "clock",
        "histogram",
        "in_flight_calls",
        "is_scoped",
        "is_timed",
        "mailbox",
        "policy",
        "token",
    )

    def __init__(
        self,
        config: CircuitBreakerConfig,
        mailbox: Mailbox[Any],
        clock: Callable[[], float],
        histogram: Histogram | None,
    ) -> None:
        super().__init__(config.name)
        self.mailbox = mailbox
        self.clock = clock
        self.token = trio.lowlevel.current_trio_token()
        self.histogram = histogram
        self.in_flight_calls: InFlightCalls | None = None
        self.bulkhead: Bulkhead | None = None
        self.apply_policy(config)

    # The policy.

    def apply_policy(self, config: CircuitBreakerConfig) -> None:
        """Handle later calls by `config`. Running calls keep their timeout and place."""
        self.policy = config
        self._classifier: Classifier | None = None
        shadow = config.shadow_config
        strategies = [config.strategy] if shadow is None else [config.strategy, shadow.strategy]
        thresholds = [one.slow_threshold for one in strategies if one.slow_threshold is not None]
        # A call that only the shadow calls slow is settled by a message too.
        self._slow = min(thresholds, default=None)
        adapts = isinstance(config.max_concurrent, AdaptiveLimit)
        self.is_timed = self.histogram is not None or self._slow is not None or adapts
        self.is_scoped = config.call_timeout is not None or config.cancel_in_flight
        if self.is_scoped and self.in_flight_calls is None:
            self.in_flight_calls = InFlightCalls()
        self._apply_bulkhead(config)
        batches = not (self.is_scoped or self.bulkhead is not None or config.failure_result is not None)
        # A success that may trip must not be counted without a message, and one that is timed is counted by
        # its duration.
        ignores_successes = all(one.ignores_successes for one in strategies)
        self.allows_fast_path = batches and not self.is_timed and ignores_successes
        self._batches = batches and not self.allows_fast_path

    def _apply_bulkhead(self, config: CircuitBreakerConfig) -> None:
        if config.max_concurrent is None:
            if self.bulkhead is not None:
                self.bulkhead.lift()
            self.bulkhead = None
        elif self.bulkhead is None:
            self.bulkhead = Bulkhead(config.max_concurrent, config.max_queue, config.queue_timeout)
        else:
            self.bulkhead.configure(config.max_concurrent, config.max_queue, config.queue_timeout)

    @property
    def classifier(self) -> Classifier:
        """Applies the policy's predicates. Made when it is first needed."""
        if self._classifier is None:
            self._classifier = Classifier(self.policy)
        return self._classifier

    # Admission.

    def _check_run(self, gate: Gate | None = None, error: BaseException | None = None) -> None:
        """Raise RuntimeError in another trio.run than the panel's, with `error` as its cause.

        gate: the gate that has admitted the running call, which isn't counted then.
        """
        if self.mailbox.is_home():
            return
        if gate is not None:
            self.mailbox.call_home(gate.withdraw)
        raise RuntimeError(OTHER_RUN) from error

    @trio.lowlevel.enable_ki_protection
    async def admit(self, source: Source | None) -> tuple[Gate, Permit | None]:
        """The gate that a call is counted by, and its permit if it needs one. Raises CircuitOpenError."""
        gate = self.gate
        if gate.admits:
            return gate, None
        now = self.clock()
        if now < gate.until:
            gate.rejected += 1
            raise CircuitOpenError(gate, now)
        answer: Permit | Rejection = await self.mailbox.ask(Acquire(source=source))
        if isinstance(answer, Rejection):
            gate = self.gate
            open_for = None if gate.opened_at is None else self.clock() - gate.opened_at
            raise CircuitOpenError(
                self.name, answer.state, answer.retry_after, answer.reason, gate.last_failure, open_for
            )
        return self.gate, answer

    def outer_call(self) -> HeldCall | bool:
        """The running call that a new one joins: True for an unregistered one, False without one."""
        held = held_call(self)
        if held is not None:
            return held
        # While calls are admitted without a message, one within another is found when it fails.
        if self.gate.admits or self.retired is None:
            return False
        return next(fast_calls(self), None) is not None

    def _is_outside(self) -> bool:
        """Whether the running code is inside of no call through this breaker."""
        self._check_run()
        return not self.outer_call()

    # Settlement.

    def is_within(self, gate: Gate, error: BaseException, *, own: int, runs: bool = True) -> bool:
        """Whether another call counts, or has counted, the failure of a call that `gate` admitted.

        If not, the failure is marked for the calls of parent tasks. own: 1 if the failed call is itself an
        unregistered one, and so is among those found. runs: whether it is among those that haven't ended.
        """
        if held_call(self) is not None:
            return True
        others_run = gate.running() > runs or self.retired is not None
        if not (others_run or (own and is_marked(error))):
            return False
        calls = list(islice(fast_calls(self), own + 1))
        if len(calls) > own or (own and calls and was_counted(calls[0], error, self._is_failure)):
            return True
        if others_run:
            mark_counted(self, error)
        return False

    def _is_failure(self, error: BaseException) -> bool:
        return self.classifier.exception(error) is Outcome.FAILURE

    @trio.lowlevel.enable_ki_protection
    async def _raised(self, gate: Gate, error: BaseException, start: float | None = None) -> None:
        """Settle an unregistered call that has raised `error`. start: its start, if measured."""
        if isinstance(error, trio.Cancelled | GeneratorExit):
            gate.cancelled += 1
            return
        if never_began(error):
            gate.withdraw()
            return
        outcome = self.classifier.exception(error)
        if outcome is Outcome.FAILURE:
            await self._failed(gate, error, start)
        elif outcome is Outcome.SUCCESS:
            await self.settle(gate, None, outcome, None if start is None else self.clock() - start)
        elif outcome is Outcome.IGNORED:
            gate.ignored += 1
            if start is not None and self.histogram is not None:
                self.histogram.observe(self.clock() - start)
        else:
            gate.cancelled += 1

    async def _failed(self, gate: Gate, error: BaseException, start: float | None) -> None:
        self._check_run(gate, error)
        if self.is_within(gate, error, own=1):
            gate.withdraw()
            return
        wait = self.classifier.retry_after(error)
        duration = None if start is None else self.clock() - start
        await self.settle(gate, None, Outcome.FAILURE, duration, wait, kind_of(error))

    @trio.lowlevel.enable_ki_protection
    async def settle(
        self,
        gate: Gate,
        permit: Permit | None,
        outcome: Outcome,
        duration: float | None = None,
        retry_after: float | None = None,
        error: str | None = None,
    ) -> None:
        """Count how a call ended. Returns when the actor has counted it, unless the gate is enough."""
        if not gate.records(permit):
            return
        if duration is not None and self.histogram is not None and outcome is not Outcome.CANCELLED:
            self.histogram.observe(duration)
        if permit is None:
            if self._try_count_on_gate(gate, outcome, duration):
                return
            permit = gate.issue_settlement_permit()
        await self.mailbox.deliver(Settle(permit, outcome, duration, retry_after, error))

    def try_settle_success(self, gate: Gate, permit: Permit | None, duration: float | None) -> bool:
        """Settle a success before its call has ended; False if it can't be done at once."""
        if not gate.records(permit):
            return True
        if permit is not None:
            settled = self.mailbox.try_send(Settle(permit, Outcome.SUCCESS, duration))
        elif not (settled := self._try_count_on_gate(gate, Outcome.SUCCESS, duration)):
            settled = self.mailbox.try_send(Settle(gate.permit(), Outcome.SUCCESS, duration))
            gate.settled_by_message += settled
        if settled and duration is not None and self.histogram is not None:
            self.histogram.observe(duration)
        return settled

    def _try_count_on_gate(self, gate: Gate, outcome: Outcome, duration: float | None) -> bool:
        """Try to count the outcome on the gate; return False if the actor must get a message.

        Neutral outcomes change no state, but each is an event for the breaker's subscribers.
        """
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
