"""A caller's one call on a real breaker, and its result."""

from __future__ import annotations

import trio

from actors import CallTimeout, CircuitBreaker, CircuitOpenError, Guard, Outcome, Source, State
from tests.actors.model.reference_state import ModelRejection
from tests.actors.model.schedules import Step


class CallFailed(Exception):
    """The exception of a failing call."""

    def __init__(self, server_wait: float | None) -> None:
        super().__init__(server_wait)
        self.server_wait = server_wait


class CallIgnored(Exception):
    """The exception of an ignored call."""


class AnswerRaised(Exception):
    """The exception of an answer: the call has succeeded."""


class SimulatedCall:
    """A caller's one call, and its result."""

    def __init__(self, number: int, source: Source | None) -> None:
        self.number = number
        self.source = source if self.is_guarded else None
        self.guard: Guard | None = None
        self.seen: str | ModelRejection = "asking"
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.how = Step("end")

    @property
    def is_guarded(self) -> bool:
        return self.number % 3 == 0

    def end(self, how: Step) -> None:
        self.how = how
        if how.outcome is Outcome.CANCELLED:
            self.scope.cancel()
        else:
            self.ended.set()

    async def work(self) -> str:
        self.seen = "running"
        has_permit = self.breaker.state is not State.DISABLED
        await self.ended.wait()
        if self.how.outcome is Outcome.FAILURE and self.how.pick % 2 and has_permit:
            # A call within this one is a part of it.
            await self.breaker.execute(self._fail)
        if self.how.outcome is Outcome.FAILURE:
            await self._fail()
        if self.how.outcome is Outcome.SUCCESS and self.how.pick % 2:
            raise AnswerRaised
        if self.how.outcome is Outcome.IGNORED:
            raise CallIgnored
        return "done"

    async def _fail(self) -> None:
        raise CallFailed(self.how.server_wait)

    async def make(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        with self.scope:
            try:
                # Each caller in its own style: the rules are the same.
                if self.is_guarded:
                    async with breaker.guard(source=self.source) as self.guard:
                        await self.work()
                elif self.number % 3 == 1:
                    assert await breaker.execute(self.work) == "done"
                else:
                    assert await breaker.protect(self.work)() == "done"
                self.seen = "success"
            except AnswerRaised:
                self.seen = "success"
            except CallFailed:
                self.seen = "failure"
            except CallIgnored:
                self.seen = "ignored"
            except CallTimeout:
                self.seen = "timed out"
            except CircuitOpenError as error:
                assert self.seen == "asking", "a rejected call never runs"
                self.seen = ModelRejection(error.reason, error.retry_after)
        if self.scope.cancelled_caught:
            self.seen = "cancelled"
