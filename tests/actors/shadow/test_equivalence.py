"""A shadow acts as a breaker with its policy would; the breaker acts as it would without a shadow.

Random schedules, on the machine, and on breakers with real calls on a mock clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors import (
    Adaptive,
    AnyOf,
    CircuitBreakerConfig,
    CircuitOpenError,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    Machine,
    Outcome,
    Panel,
    Permit,
    ShadowPolicy,
    SlowCallRate,
    Snapshot,
    open_panel,
)
from tests.actors.model.schedules import examples
from tests.actors.model.simulation import seeded_scheduler
from tests.actors.shadow.shadows import NEVER_TRIPS, shadow_of, shadowed

STRATEGIES = (
    Adaptive(),
    Adaptive(failures=2, probes=1, longest_wait=3.0),
    ConsecutiveFailures(2),
    FailureCount(3, LastSeconds(5)),
    FailureRate(rate=0.5, window=LastCalls(4), minimum_calls=2),
    SlowCallRate(rate=0.5, threshold=1.0, window=LastSeconds(10), minimum_calls=2),
    AnyOf(Adaptive(failures=2), SlowCallRate(rate=0.5, threshold=1.0, window=LastCalls(4), minimum_calls=2)),
)

policies = st.builds(
    ShadowPolicy,
    trip=st.sampled_from(STRATEGIES),
    reset_timeout=st.sampled_from([0.5, 2.0, 10.0]),
    half_open_max_calls=st.sampled_from([1, 1, 2]),
    successes_to_close=st.sampled_from([1, 2]),
    half_open_timeout=st.sampled_from([None, 1.5, 60.0]),
    half_open_failure_rate=st.sampled_from([None, None, 0.5]),
    ramp=st.sampled_from([None, None, 4.0]),
)


@dataclass(frozen=True)
class Call:
    """A call made `after` seconds after the one before it, with this outcome after `lasts` seconds."""

    after: float
    lasts: float
    outcome: Outcome


OUTCOMES = [*[Outcome.FAILURE] * 5, *[Outcome.SUCCESS] * 4, Outcome.IGNORED, Outcome.CANCELLED]
calls = st.builds(
    Call,
    after=st.sampled_from([0.0, 0.1, 0.1, 0.5, 1.0, 3.0, 10.0]),
    lasts=st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.2, 4.0]),
    outcome=st.sampled_from(OUTCOMES),
)
schedules = st.lists(calls, min_size=1, max_size=60)


def moments(schedule: Sequence[Call]) -> list[tuple[float, int, bool, Call]]:
    """Begins and ends of the calls in order: time, number, whether it begins.

    No two are at one time: calls begin at multiples of 0.1 ms, and end a microsecond or more after one.
    """
    found, now = [], 0.0
    for number, call in enumerate(schedule):
        now += call.after + 1e-4
        found += [(now, number, True, call), (now + call.lasts + 1e-6 * (number + 1), number, False, call)]
    return sorted(found, key=lambda one: one[:2])


def play(it: Machine, schedule: Sequence[Call]) -> tuple[list[int], list[int]]:
    """Make the calls of a schedule; the numbers of those that were admitted, and of those rejected."""
    permits: dict[int, Permit] = {}
    rejected = []
    for now, number, begins, call in moments(schedule):
        it.wake(now)  # as by the messages of other calls
        if begins:
            answer = it.admit(now)
            if isinstance(answer, Permit):
                permits[number] = answer
            else:
                rejected.append(number)
        elif number in permits:
            it.settle(permits[number], call.outcome, now, call.lasts)
    return list(permits), rejected


@examples(0.6)
@given(policies, schedules)
def test_a_shadow_does_what_a_breaker_with_its_policy_does(
    policy: ShadowPolicy, schedule: list[Call]
) -> None:
    it = shadowed(policy)
    assert it.config.shadow_config is not None
    reference = Machine(it.config.shadow_config)
    end = moments(schedule)[-1][0] + 0.1
    play(it, schedule)
    admitted, rejected = play(reference, schedule)
    # The counts first: a snapshot lets time pass.
    shadow, other = it.snapshot(end).shadow, reference.snapshot(end)
    assert shadow_of(it).drain() == reference.drain()
    assert shadow is not None
    assert [*shadow.calls["admitted"].values()] == [
        *(sum(schedule[number].outcome is outcome for number in admitted) for outcome in Outcome),
        0,
    ]
    assert sum(shadow.calls["rejected"].values()) == len(rejected)
    assert (shadow.state, shadow.failure_count, shadow.learned) == (
        other.state,
        other.failure_count,
        other.learned,
    )
    assert (it.state, it.drain()) == (it.state.CLOSED, [])


@examples(0.4)
@given(policies, policies, schedules, st.sampled_from([None, "trip", "reset", "hold"]), st.integers(0, 60))
def test_a_machine_with_a_shadow_does_what_it_does_without(
    policy: ShadowPolicy, own: ShadowPolicy, schedule: list[Call], command: str | None, place: int
) -> None:
    config = CircuitBreakerConfig(name="it", **own.changes())
    plain, it = Machine(config), Machine(replace(config, shadow=policy))
    before, after = schedule[:place], schedule[place:]
    assert play(plain, before) == play(it, before)
    now = moments(before)[-1][0] if before else 0.0
    for one in (plain, it):
        if command == "hold":
            one.hold(one.state.OBSERVING, now, "observed")
        elif command is not None:
            getattr(one, command)(now)
    after = [replace(call, after=call.after + now * (n == 0)) for n, call in enumerate(after)]
    assert play(plain, after) == play(it, after)
    end = now + 1e4
    assert replace(it.snapshot(end), shadow=None) == plain.snapshot(end)
    assert it.drain() == plain.drain()
    assert it.evidence == plain.evidence


async def made(panel: Panel, config: CircuitBreakerConfig, schedule: Sequence[Call]) -> list[str]:
    """Make the calls through a breaker, each in a task of its own; return how each ended for its caller."""
    breaker = panel.breaker(config)
    ends = [""] * len(schedule)

    async def dependency(number: int, call: Call) -> str:
        await trio.sleep(call.lasts + 1e-6 * (number + 1))
        if call.outcome is Outcome.FAILURE:
            raise ConnectionError(number)
        if call.outcome is Outcome.IGNORED:
            raise KeyError(number)
        return "success"

    async def caller(number: int, call: Call) -> None:
        seconds = call.lasts if call.outcome is Outcome.CANCELLED else 1e6
        with trio.move_on_after(seconds + 1e-6 * (number + 0.5)) as scope:
            try:
                ends[number] = await breaker.execute(dependency, number, call)
            except (ConnectionError, KeyError, CircuitOpenError) as error:
                ends[number] = type(error).__name__
        if scope.cancelled_caught:
            ends[number] = "cancelled"

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(schedule):
            await trio.sleep(call.after + 1e-4)
            nursery.start_soon(caller, number, call)
    # Return at a fixed time, however many calls were rejected.
    await trio.sleep_until(moments(schedule)[-1][0] + 0.1)
    return ends


def run(
    config: CircuitBreakerConfig, schedule: Sequence[Call], durations: Sequence[float] | None
) -> tuple[list[str], list[Any], list[Any], Snapshot]:
    """The ends of the calls, the transitions, those of the shadow, and the last snapshot."""

    async def main() -> tuple[list[str], list[Any], list[Any], Snapshot]:
        async with AsyncExitStack() as after_the_panel:
            async with open_panel(durations=durations) as panel:
                events = await after_the_panel.enter_async_context(panel.events(10_000))
                shadows = await after_the_panel.enter_async_context(panel.shadow_events(10_000))
                ends = await made(panel, config, schedule)
                snapshot = await panel[config.name].snapshot()
            moves = [replace(event, unix_time=0) async for event in events]  # type: ignore[type-var]
            return ends, moves, [event async for event in shadows], snapshot

    with seeded_scheduler(1):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


def told(events: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(event.old, event.new, event.reason, event.time) for event in events]


BARE = {"shadow": None, "unix_changed_at": 0, "unix_opened_at": 0, "durations": None}


@examples(0.2)
@given(policies, schedules, st.sampled_from([None, (0.1, 1.0)]))
def test_the_shadow_of_a_breaker_does_what_a_breaker_with_its_policy_does(
    policy: ShadowPolicy, schedule: list[Call], durations: Sequence[float] | None
) -> None:
    """Most calls are counted on the gate, not by messages."""
    config = CircuitBreakerConfig(name="it", max_failures=NEVER_TRIPS, shadow=policy, ignore=KeyError)
    assert config.shadow_config is not None
    _, moves, shadows, snapshot = run(config, schedule, durations)
    ends, reference, _, _ = run(config.shadow_config, schedule, durations)
    assert moves == []
    assert told(shadows) == told(reference)
    shadow = snapshot.shadow
    assert shadow is not None
    assert sum(shadow.calls["rejected"].values()) == ends.count("CircuitOpenError")
    assert sum(sum(one.values()) for one in shadow.calls.values()) == len(schedule)
    assert shadow.calls["admitted"]["success"] == ends.count("success")
    assert shadow.calls["admitted"]["failure"] == ends.count("ConnectionError")


@examples(0.2)
@given(policies, policies, schedules, st.sampled_from([None, (0.1, 1.0)]))
def test_a_breaker_with_a_shadow_does_what_it_does_without(
    policy: ShadowPolicy, own: ShadowPolicy, schedule: list[Call], durations: Sequence[float] | None
) -> None:
    config = CircuitBreakerConfig(name="it", ignore=KeyError, **own.changes())
    with_shadow = run(replace(config, shadow=policy), schedule, durations)
    without = run(config, schedule, durations)
    assert with_shadow[:2] == without[:2]
    assert replace(with_shadow[3], **BARE) == replace(without[3], **BARE)  # type: ignore[arg-type]
    shadow = with_shadow[3].shadow
    assert shadow is not None
    unseen = sum(ends["unseen"] for ends in shadow.calls.values())
    assert unseen == without[0].count("CircuitOpenError")
