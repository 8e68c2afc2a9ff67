"""One panel, one breaker, callers in tasks of their own, on a mock clock under a seeded scheduler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from trio._core import _run
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, Outcome, open_panel
from tests.actors.insides import crash_next
from tests.actors.model.calls import SimulatedCall
from tests.actors.model.orders import Act, Orders
from tests.actors.model.reference import Reference
from tests.actors.model.reference_state import ModelRejection
from tests.actors.model.schedules import HELD, PROBE, Moment, Step, another


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


class Simulation:
    """The breaker and its callers."""

    def __init__(self, breaker: CircuitBreaker, clock: MockClock, nursery: trio.Nursery) -> None:
        self.breaker = breaker
        self.clock = clock
        self.nursery = nursery
        self.orders = Orders(breaker.config)
        self.calls: dict[int, SimulatedCall] = {}
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
        # If many orders remain, a reading rules out most of them.
        look = moment.look or len(self.orders.models) > 20
        threads = [taken for acts in begun if (taken := acts(now))]
        self.orders.explain(threads, now, await self.read() if look else None)
        self.running = [number for number, call in self.calls.items() if call.seen == "running"]

    def start(self, step: Step) -> Callable[[float], list[Act]]:
        """Start the step. The returned function gives the acts for the reference, once the step is over."""
        if step.what in ("begin", "once"):
            call = self.calls[len(self.calls)] = SimulatedCall(len(self.calls), step.source)
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

    def began(self, call: SimulatedCall, step: Step, now: float) -> list[Act]:
        def admit(model: Reference) -> bool:
            refused = model.admit(call.number, now, call.source)
            return call.seen == refused if refused is not None else not isinstance(call.seen, ModelRejection)

        settled = step.what == "once" and call.seen == step.outcome.value
        return [admit, self.settles(call, step, now)] if settled else [admit]

    def settles(self, call: SimulatedCall, step: Step, now: float) -> Act:
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
            crash_next(self.breaker)
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


def play(config: CircuitBreakerConfig, schedule: list[Moment], seed: int) -> Orders:
    """The whole schedule, in a trio.run of its own."""
    clock = MockClock()
    orders: list[Orders] = []

    async def main() -> None:
        async with open_panel(max_restarts=10**6) as panel, trio.open_nursery() as nursery:
            simulation = Simulation(panel.breaker(config), clock, nursery)
            for moment in schedule:
                await simulation.moment(moment)
            orders.append(simulation.orders)
            nursery.cancel_scope.cancel()

    PROBE.passes = False
    logging.getLogger("trio_breakers").setLevel(logging.CRITICAL)
    try:
        with seeded_scheduler(seed):
            trio.run(main, clock=clock, strict_exception_groups=True)
    finally:
        logging.getLogger("trio_breakers").setLevel(logging.NOTSET)
    return orders[0]
