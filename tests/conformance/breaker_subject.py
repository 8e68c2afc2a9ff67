"""The suite's subject for a breaker with its actor, on a mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitOpenError,
    Guard,
    Panel,
    Source,
    open_panel,
)
from tests.conformance.policies import AnsweredNo, BadResult, Failed, Ignored, config_of, reading
from tests.conformance.suite import CannotExpressError, Refusal


class HeldCall:
    """A call that runs until the suite ends it."""

    def __init__(self) -> None:
        self.seen = "waiting"
        self.refusal = Refusal(None, None)
        self.scope = trio.CancelScope()
        self.source: Source | None = None
        self.guard: Guard | None = None
        self._told = trio.Event()
        self._inner: Callable[[], Awaitable[None]] | None = None
        self._how: tuple[str, float | None] = ("success", None)

    def end(self, outcome: str, server_wait: float | None = None) -> None:
        self._how = outcome, server_wait
        if outcome == "cancelled":
            self.scope.cancel()
        else:
            self._told.set()

    def make(self, inner: Callable[[], Awaitable[None]]) -> None:
        """Make a call in its course, and await it."""
        self._inner = inner
        self._told.set()

    async def work(self) -> object:
        self.seen = "running"
        await self._told.wait()
        while self._inner is not None:
            inner, self._inner, self._told = self._inner, None, trio.Event()
            await inner()
            await self._told.wait()
        outcome, server_wait = self._how
        if outcome == "failure":
            raise Failed(server_wait)
        if outcome == "ignored":
            raise Ignored
        if outcome == "answer_error":
            raise AnsweredNo
        return BadResult() if outcome == "bad_result" else None


class BreakerSubject:
    """Handle and actor, called in one of the three styles: execute, guard or protect.

    The breaker is looked up on the panel at each use, since it may have been removed.
    """

    def __init__(
        self, panel: Panel, policy: Mapping[str, Any], clock: MockClock, nursery: trio.Nursery, style: str
    ) -> None:
        self._panel = panel
        self._config = config_of(policy, self._probe)
        self._clock = clock
        self._nursery = nursery
        self._style = style
        self._held: dict[str, HeldCall] = {}
        self._waits: dict[str, str] = {}
        self.probe: HeldCall | None = None

    async def _probe(self) -> None:
        self.probe = HeldCall()
        await self.probe.work()

    @property
    def _breaker(self) -> CircuitBreaker:
        return self._panel.breaker(self._config)

    async def advance(self, to: float) -> None:
        self._clock.jump(to - trio.current_time())
        await wait_all_tasks_blocked()

    async def begin(self, call: str) -> None:
        await self._start(call, HeldCall())

    async def begin_from(self, call: str, client: str | None, route: str | None) -> None:
        self._need_guard("says where its calls come from")
        held = HeldCall()
        held.source = Source(client, route)
        await self._start(call, held)

    async def begin_inside(self, call: str, outer: str) -> None:
        held = self._held[call] = HeldCall()
        self._held[outer].make(partial(self._caller, held))
        await wait_all_tasks_blocked()

    async def wait_for_admission(self, caller: str) -> None:
        self._waits[caller] = "waiting"
        self._nursery.start_soon(self._wait, caller)
        await wait_all_tasks_blocked()

    async def _wait(self, caller: str) -> None:
        await self._breaker.wait_until_admitting()
        self._waits[caller] = "admitted"

    async def answer(self, call: str) -> None:
        self._need_guard("can be told of an answer")
        guard = self._held[call].guard
        assert guard is not None
        guard.answered()
        await wait_all_tasks_blocked()

    async def _start(self, call: str, held: HeldCall) -> None:
        self._held[call] = held
        self._nursery.start_soon(self._caller, held)
        await wait_all_tasks_blocked()

    def _need_guard(self, what: str) -> None:
        if self._style != "guard":
            raise CannotExpressError(f"only a guard {what}")

    async def end(self, call: str, outcome: str, server_wait: float | None) -> None:
        self._held[call].end(outcome, server_wait)
        await wait_all_tasks_blocked()

    async def end_probe(self, outcome: str) -> None:
        assert self.probe is not None, "no probe is running"
        self.probe.end(outcome)
        await wait_all_tasks_blocked()

    def seen(self, call: str) -> str:
        return self._waits.get(call) or self._held[call].seen

    def refusal(self, call: str) -> Refusal:
        return self._held[call].refusal

    async def run_command(self, command: str) -> None:
        if command == "remove":
            await self._panel.remove(self._config.name)
        else:
            await getattr(self._breaker, command)()
        await wait_all_tasks_blocked()

    async def configure(self, policy: Mapping[str, Any]) -> None:
        await self._breaker.configure(config_of(policy))

    async def read(self, what: str) -> Any:
        breaker = self._breaker
        snapshot = await breaker.snapshot()
        assert snapshot.state is breaker.state, "the state published is the state"
        assert snapshot.retry_after == breaker.retry_after, "the wait published is the wait"
        return reading(snapshot, what)

    async def _caller(self, held: HeldCall) -> None:
        with held.scope:
            try:
                await self._call(held)
                held.seen = "succeeded"
            except (Failed, Ignored, AnsweredNo):
                held.seen = "failed"
            except CallTimeout:
                held.seen = "timed_out"
            except (CircuitOpenError, BulkheadFullError) as error:
                held.refusal = Refusal(error.reason.value, error.retry_after)
                held.seen = "rejected" if held.seen == "waiting" else "cut_off"
        if held.scope.cancelled_caught:
            held.seen = "cancelled"

    async def _call(self, held: HeldCall) -> None:
        if self._style == "execute":
            await self._breaker.execute(held.work)
        elif self._style == "protect":
            await self._breaker.protect(held.work)()
        else:
            await self._guarded(held)

    async def _guarded(self, held: HeldCall) -> None:
        async with self._breaker.guard(source=held.source) as held.guard:
            if isinstance(await held.work(), BadResult):
                held.guard.fail("bad result")


@asynccontextmanager
async def open_breaker(
    policy: Mapping[str, Any], clock: MockClock, style: str
) -> AsyncIterator[BreakerSubject]:
    """A subject on a panel of its own."""
    idle_timeout = policy.get("idle_timeout")
    async with open_panel(idle_timeout=idle_timeout) as panel, trio.open_nursery() as nursery:
        subject = BreakerSubject(panel, policy, clock, nursery, style)
        yield subject
        nursery.cancel_scope.cancel()
