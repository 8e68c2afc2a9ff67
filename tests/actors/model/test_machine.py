"""The machine against the reference, over random policies and schedules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors import CircuitBreakerConfig, Machine, Outcome, Permit, Rejection
from tests.actors.model.reference import Reference
from tests.actors.model.reference_state import ModelRejection
from tests.actors.model.schedules import (
    ANSWERS,
    HELD,
    OPERATORS,
    Moment,
    Step,
    another,
    examples,
    policies,
    schedules,
)


class Pair:
    """The machine and the reference, with the same steps."""

    def __init__(self, config: CircuitBreakerConfig, start: float) -> None:
        self.machine = Machine(config, now=start)
        self.model = Reference(config)
        self.now = start
        self.running: dict[int, tuple[Permit, float]] = {}
        self.begun = 0

    def take(self, moment: Moment) -> None:
        self.now += moment.after
        for step in moment.steps:
            self.step(step)
            self.compare()

    def step(self, step: Step) -> None:
        if step.what in ("begin", "once"):
            number = self.begin(step)
            if step.what == "once" and number is not None:
                self.end(number, step)
        elif step.what == "end":
            if self.running:
                self.end(list(self.running)[step.pick % len(self.running)], step)
        elif step.what == "answer":
            self.answer(step)
        else:
            self.command(step)

    def answer(self, step: Step) -> None:
        if self.running:
            number = list(self.running)[step.pick % len(self.running)]
            permit, began = self.running[number]
            self.machine.answered(permit, self.now, self.now - began)
            self.model.answer(number, self.now)

    def begin(self, step: Step) -> int | None:
        self.begun += 1
        answer = self.machine.admit(self.now, source=step.source)
        refused = self.model.admit(self.begun, self.now, step.source)
        if isinstance(answer, Rejection):
            assert refused == ModelRejection(answer.reason, answer.retry_after)
            return None
        assert refused is None
        self.running[self.begun] = answer, self.now
        return self.begun

    def end(self, number: int, step: Step) -> None:
        permit, began = self.running.pop(number)
        wait = step.server_wait if step.outcome is Outcome.FAILURE else None
        in_time = self.machine.settle(permit, step.outcome, self.now, self.now - began, retry_after=wait)
        assert in_time is self.model.settle(number, step.outcome, self.now, server_wait=wait)

    def command(self, step: Step) -> None:
        if step.what in HELD:
            self.machine.hold(HELD[step.what], self.now, "told")
            self.model.hold(HELD[step.what], self.now)
        elif step.what == "configure":
            config = another(self.machine.config, step.pick)
            self.machine.configure(config, self.now)
            self.model.configure(config, self.now)
        else:
            getattr(self.machine, step.what)(self.now)
            getattr(self.model, step.what)(self.now)

    def compare(self) -> None:
        snapshot = self.machine.snapshot(self.now)
        expected = self.model.reading(self.now)
        got = {
            "state": snapshot.state,
            "generation": snapshot.generation,
            "failures": snapshot.failure_count,
            "slow": snapshot.slow_count,
            "retry_after": snapshot.retry_after,
            "counts": {outcome.value: snapshot.counts[outcome.value] for outcome in Outcome},
            "rejections": snapshot.rejections,
            "late": snapshot.late,
            "would_reject": snapshot.would_reject,
            "in_flight": snapshot.in_flight,
        }
        assert got == expected


@examples(0.6)
@given(policies(calls=False), schedules(*OPERATORS, *ANSWERS, "end_wait"), st.sampled_from([0.0, 4097.25]))
def test_the_machine_agrees_with_the_reference(
    config: CircuitBreakerConfig, schedule: list[Moment], start: float
) -> None:
    """Both give the same answers and readings after every step, at any start time."""
    pair = Pair(config, start)
    for moment in schedule:
        pair.take(moment)
