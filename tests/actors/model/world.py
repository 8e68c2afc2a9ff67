"""One panel, one breaker, callers in tasks of their own, on a mock clock under a seeded scheduler.

What several tasks do at once has no order of its own: the readings afterwards must be those of some
order of the reference's steps. `Orders` keeps every order that still explains what was seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from trio._core import _run
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Guard,
    Machine,
    Outcome,
    Source,
    State,
    open_panel,
)
from tests.actors.insides import actor_of
from tests.actors.model.reference import Reference, Refused
from tests.actors.model.schedules import PROBE, Moment, Step, another

HELD = {"force_open": State.FORCED_OPEN, "disable": State.DISABLED, "observe": State.OBSERVING}
Act = Callable[[Reference], bool]
"""One step of the reference; whether it answers what was seen."""


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """The same seed gives the same order of tasks."""
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]


class Down(Exception):
    """What a failing call raises."""

    def __init__(self, server_wait: float | None) -> None:
        super().__init__(server_wait)
        self.server_wait = server_wait


class Unheeded(Exception):
    """What an ignored call raises."""


class Answered(Exception):
    """With what a dependency says no: the call has succeeded."""


class Call:
    """A caller's one call, and what came of it."""

    def __init__(self, number: int, source: Source | None) -> None:
        self.number = number
        self.source = source if self.is_guarded else None
        self.guard: Guard | None = None
        self.seen: str | Refused = "asking"
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
            raise Answered
        if self.how.outcome is Outcome.IGNORED:
            raise Unheeded
        return "done"

    async def _fail(self) -> None:
        raise Down(self.how.server_wait)

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
            except Answered:
                self.seen = "success"
            except Down:
                self.seen = "failure"
            except Unheeded:
                self.seen = "ignored"
            except CallTimeout:
                self.seen = "timed out"
            except CircuitOpenError as error:
                assert self.seen == "asking", "a rejected call never runs"
                self.seen = Refused(error.reason, error.retry_after)
        if self.scope.cancelled_caught:
            self.seen = "cancelled"


class Orders:
    """Every state of the reference that explains what was seen so far."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.models = [Reference(config)]

    def at(self, now: float) -> set[int]:
        """Let time pass; which calls have run into their timeout. All agree: nothing else happened."""
        over = []
        for model in self.models:
            model.wake(now)
            over.append(frozenset(model.time_out(now)))
            model.probe(now, PROBE.passes)
        assert len(set(over)) == 1
        return set(over[0])

    def explain(self, threads: list[list[Act]], now: float, reading: dict[str, Any] | None) -> None:
        """Keep the orders of `threads` (each in its own order) after which the reference reads so."""
        reached = {model.key(): model for start in self.models for model in _interleavings(start, threads)}
        assert reached, f"no order of what happened at {now} explains what callers saw"
        self.models = list(reached.values())
        if reading is not None:
            readings = [model.reading(now) for model in self.models]
            self.models = [
                model for model, read in zip(self.models, readings, strict=True) if read == reading
            ]
            assert self.models, (
                f"no order of what happened at {now} explains\n  {reading}, only\n  {readings}"
            )


def _interleavings(start: Reference, threads: list[list[Act]]) -> Iterator[Reference]:
    if len(threads) <= 1:
        # Nobody else is left: there is one order, and `start` is needed by no other.
        if all(act(start) for thread in threads for act in thread):
            yield start
        return
    for place, thread in enumerate(threads):
        model = start.copy()
        if thread[0](model):
            rest = [thread[1:]] if thread[1:] else []
            yield from _interleavings(model, [*threads[:place], *rest, *threads[place + 1 :]])


class World:
    """The breaker and its callers."""

    def __init__(self, breaker: CircuitBreaker, clock: MockClock, nursery: trio.Nursery) -> None:
        self.breaker = breaker
        self.clock = clock
        self.nursery = nursery
        self.orders = Orders(breaker.config)
        self.calls: dict[int, Call] = {}
        self.running: list[int] = []

    async def moment(self, moment: Moment) -> None:
        self.clock.jump(moment.after)
        await wait_all_tasks_blocked()
        now = trio.current_time()
        for number in self.orders.at(now):
            assert self.calls[number].seen == "timed out"
            self.running.remove(number)
        begun = [self.start(step) for step in moment.steps]
        await wait_all_tasks_blocked()
        # Where there are many orders by now, a reading rules out most.
        look = moment.look or len(self.orders.models) > 20
        threads = [taken for acts in begun if (taken := acts(now))]
        self.orders.explain(threads, now, await self.read() if look else None)
        self.running = [number for number, call in self.calls.items() if call.seen == "running"]

    def start(self, step: Step) -> Callable[[float], list[Act]]:
        """Set it going; what it returns is asked afterwards what the reference is to be told."""
        if step.what in ("begin", "once"):
            call = self.calls[len(self.calls)] = Call(len(self.calls), step.source)
            if step.what == "once" and step.outcome is not Outcome.CANCELLED:
                call.end(step)
            self.nursery.start_soon(call.make, self.breaker)
            return lambda now: self.began(call, step, now)
        if step.what == "end":
            if not self.running:
                return lambda _: []
            call = self.calls[self.running.pop(step.pick % len(self.running))]
            call.end(step)
            return lambda now: [self.settles(call, step, now)]
        if step.what == "answer":
            return self.answer(step)
        if step.what == "turn":
            PROBE.passes = not PROBE.passes
            return lambda _: []
        config = another(self.breaker.config, step.pick)
        self.nursery.start_soon(self.command, step, config)
        return lambda now: [self.commands(step, config, now)]

    def answer(self, step: Step) -> Callable[[float], list[Act]]:
        guarded = [number for number in self.running if self.calls[number].is_guarded]
        if not guarded:
            return lambda _: []
        call = self.calls[guarded[step.pick % len(guarded)]]
        assert call.guard is not None
        call.guard.answered()

        def answer(now: float) -> list[Act]:
            def act(model: Reference) -> bool:
                if call.number in model.passes:
                    model.answer(call.number, now)
                return True

            return [act]

        return answer

    def began(self, call: Call, step: Step, now: float) -> list[Act]:
        def admit(model: Reference) -> bool:
            refused = model.admit(call.number, now, call.source)
            return call.seen == refused if refused is not None else not isinstance(call.seen, Refused)

        settled = step.what == "once" and call.seen == step.outcome.value
        return [admit, self.settles(call, step, now)] if settled else [admit]

    def settles(self, call: Call, step: Step, now: float) -> Act:
        assert call.seen == step.outcome.value, (
            f"call {call.number} ended {step.outcome}, its caller saw {call.seen}"
        )
        wait = step.server_wait if step.outcome is Outcome.FAILURE else None

        def settle(model: Reference) -> bool:
            model.settle(call.number, step.outcome, now, server_wait=wait)
            return True

        return settle

    async def command(self, step: Step, config: CircuitBreakerConfig) -> None:
        if step.what == "crash":
            _crash_next(self.breaker)
            await self.breaker.snapshot()
        elif step.what == "configure":
            await self.breaker.configure(config)
        else:
            await getattr(self.breaker, step.what)()

    def commands(self, step: Step, config: CircuitBreakerConfig, now: float) -> Act:
        def act(model: Reference) -> bool:
            if step.what in HELD:
                model.hold(HELD[step.what], now)
            elif step.what == "configure":
                model.configure(config, now)
            else:
                getattr(model, step.what)(now)
            return True

        return act

    async def read(self) -> dict[str, Any]:
        snapshot = await self.breaker.snapshot()
        assert snapshot.state is self.breaker.state
        assert snapshot.retry_after == self.breaker.retry_after
        return {
            "state": snapshot.state,
            "generation": snapshot.generation,
            "failures": snapshot.failure_count,
            "slow": snapshot.slow_count,
            "retry_after": snapshot.retry_after,
            "counts": {outcome.value: snapshot.counts[outcome.value] for outcome in Outcome},
            "rejections": dict(snapshot.rejections),
            "late": snapshot.late,
            "would_reject": snapshot.would_reject,
            "in_flight": snapshot.in_flight,
        }


class BrokenMachine(Machine):
    """Raises once, before it does anything with the next message."""

    __slots__ = ()

    def wake(self, now: float) -> None:
        self.__class__ = Machine  # type: ignore[assignment]
        raise RuntimeError(f"broken on purpose at {now}")


def _crash_next(breaker: CircuitBreaker) -> None:
    actor_of(breaker)._machine.__class__ = BrokenMachine


def play(config: CircuitBreakerConfig, schedule: list[Moment], seed: int) -> Orders:
    """The whole schedule, in a trio.run of its own."""
    clock = MockClock()
    orders: list[Orders] = []

    async def main() -> None:
        async with open_panel(max_restarts=10**6) as panel, trio.open_nursery() as nursery:
            world = World(panel.breaker(config), clock, nursery)
            for moment in schedule:
                await world.moment(moment)
            orders.append(world.orders)
            nursery.cancel_scope.cancel()

    PROBE.passes = False
    logging.getLogger("trio_breakers").setLevel(logging.CRITICAL)
    try:
        with seeded_scheduler(seed):
            trio.run(main, clock=clock, strict_exception_groups=True)
    finally:
        logging.getLogger("trio_breakers").setLevel(logging.NOTSET)
    return orders[0]
