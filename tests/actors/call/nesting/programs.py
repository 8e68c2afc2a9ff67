"""Random programs of calls within calls, and their effect on callers and snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from hypothesis import strategies as st
from trio.testing import MockClock

from actors import CircuitBreaker, CircuitBreakerConfig, Snapshot, State, open_panel
from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import STYLES, Call, TranslatedError, call, in_child


@dataclass(frozen=True)
class Nested:
    """A call, and the acts of its function: it fails, sleeps, commands the breaker, or calls in turn."""

    style: str
    steps: tuple[str | Nested, ...]
    in_child: bool = False
    swallowed: bool = False
    wrapped: bool = False


def programs(
    *, commands: bool = False, children: bool = False, swallows: bool = False
) -> st.SearchStrategy[list[Nested]]:
    """Lists of outermost calls, which run one after the other."""
    acts = st.sampled_from(["fail", "sleep", "sleep", *(("trip", "reset", "force_open") if commands else ())])
    step: st.SearchStrategy[str | Nested] = acts
    for _ in range(3):
        step = acts | st.builds(
            Nested,
            st.sampled_from(STYLES),
            st.lists(step, max_size=3).map(tuple),
            in_child=st.booleans() if children else st.just(False),
            swallowed=st.booleans() if swallows else st.just(False),
            wrapped=st.booleans(),
        )
    outermost = st.builds(Nested, st.sampled_from(STYLES), st.lists(step, max_size=3).map(tuple))
    return st.lists(outermost, min_size=1, max_size=6)


Reading = tuple[list[str], list[Snapshot]]


def run(program: list[Nested], policy: dict[str, Any], *, beside: bool, directly: bool) -> Reading:
    """The results that callers see, and a snapshot after each call.

    directly: inner calls don't go through the breaker.
    beside: whether another task's call runs all the time.
    """
    return trio.run(_run, program, policy, beside, directly, clock=MockClock(autojump_threshold=0))


async def _run(program: list[Nested], policy: dict[str, Any], beside: bool, directly: bool) -> Reading:
    seen: list[str] = []
    snapshots = []
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", reset_timeout=2.0, **policy))
        if beside:
            nursery.start_soon(breaker.execute, trio.sleep_forever)
            await trio.sleep(0.001)
        for nested in program:
            await trio.sleep(1)
            try:
                await call(breaker, nested.style, partial(_body, breaker, nested, directly))
                seen.append("fine")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
                seen.append(type(error).__name__)
            snapshots.append(await breaker.snapshot())
            if snapshots[-1].state is State.FORCED_OPEN:
                await breaker.reset()
        nursery.cancel_scope.cancel()
    return seen, snapshots


async def _body(breaker: CircuitBreaker, nested: Nested, directly: bool) -> None:
    for step in nested.steps:
        match step:
            case "fail":
                raise DependencyDown("down")
            case "sleep":
                await trio.sleep(0.25)
            case str():
                await getattr(breaker, step)()
            case Nested():
                await _step(breaker, step, directly)


async def _step(breaker: CircuitBreaker, nested: Nested, directly: bool) -> None:
    function: Call = partial(_body, breaker, nested, directly)
    if not directly:
        function = partial(call, breaker, nested.style, function)
    if nested.in_child:
        function = in_child(function)
    try:
        await function()
    except Exception as error:
        if not nested.swallowed:
            if nested.wrapped:
                raise TranslatedError from error
            raise
