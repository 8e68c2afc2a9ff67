"""Other Python breakers, each called as its users call it: once while closed, once while open.

A case is the expression that a user would write. A loop is compiled around it, so that the measurement
includes no wrapper of ours. Each peer is represented by its fastest call style.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any


class Down(Exception):
    """The guarded call's failure, which opens a breaker."""


async def work() -> None:
    """The guarded call. It does nothing, so that the time measured is the breaker's."""


async def broken() -> None:
    """The guarded call that fails."""
    raise Down


@dataclass(frozen=True)
class Case:
    """An expression to await, with `names` in scope. block: `text` is a whole statement instead."""

    text: str
    names: dict[str, Any] = field(default_factory=dict)
    block: bool = False

    def loop(self, *, raises: bool = False) -> Callable[[int], Awaitable[None]]:
        """An async function that takes a number and runs the case that many times."""
        body = self.text if self.block else f"await {self.text}"
        lines = body.splitlines()
        if raises:
            lines = ["try:", *(f"    {line}" for line in lines), "except Exception:", "    pass"]
        source = "async def loop(times):\n    for _ in range(times):\n" + "".join(
            f"        {line}\n" for line in lines
        )
        scope = dict(self.names)
        exec(source, scope)
        return scope["loop"]


Pair = tuple[Case, Case]
"""A peer's calls: while closed, and while open."""


def resilix() -> Pair:
    """Its breaker as a decorator."""
    from resilix import CircuitBreaker

    return tuple(
        Case("call()", {"call": CircuitBreaker(failures=5, reset_timeout=3600, on=Down)(fn)})
        for fn in (work, broken)
    )


def keel() -> Pair:
    """Its `call`."""
    from keel_circuit_breaker import CircuitBreaker

    return tuple(
        Case("breaker.call(fn, 'key')", {"breaker": CircuitBreaker(5, 3600), "fn": fn})
        for fn in (work, broken)
    )


def circuitbreaker() -> Pair:
    """Its decorator."""
    from circuitbreaker import CircuitBreaker

    return tuple(
        Case("call()", {"call": CircuitBreaker(5, 3600, Down, name=fn.__name__)(fn)}) for fn in (work, broken)
    )


def hyx() -> Pair:
    """Its decorator."""
    from hyx.circuitbreaker import consecutive_breaker

    def guarded(fn):
        return consecutive_breaker(exceptions=Down, failure_threshold=5, recovery_time_secs=3600)(fn)

    return tuple(Case("call()", {"call": guarded(fn)}) for fn in (work, broken))


def aiobreaker() -> Pair:
    """Its `call_async`."""
    from aiobreaker import CircuitBreaker

    return tuple(
        Case(
            "breaker.call_async(fn)",
            {"breaker": CircuitBreaker(fail_max=5, timeout_duration=timedelta(hours=1)), "fn": fn},
        )
        for fn in (work, broken)
    )


def pybreaker() -> Pair:
    """Its `with` block: its `call` never counts a coroutine's failure, and its `call_async` needs Tornado."""
    from pybreaker import CircuitBreaker

    return tuple(
        Case(
            "with breaker.calling():\n    await fn()",
            {"breaker": CircuitBreaker(5, 3600), "fn": fn},
            block=True,
        )
        for fn in (work, broken)
    )


def interlock() -> Pair:
    """Its decorator."""
    from interlock import CircuitBreaker, Config

    config = Config(
        minimum_number_of_calls=5, window_size=5, failure_rate_threshold=1.0, wait_duration_in_open=3600
    )
    return tuple(
        Case("call()", {"call": CircuitBreaker(name=fn.__name__, config=config)(fn)}) for fn in (work, broken)
    )


def nopanic() -> Pair:
    """Its `acall`: on trio as fast as its decorator, and faster than its `with` block."""
    from nopanic import circuit_breaker

    return tuple(
        Case(
            "breaker.acall(fn)",
            {
                "breaker": circuit_breaker(failure_threshold=1.0, min_calls=5, reset_timeout=3600, on=Down),
                "fn": fn,
            },
        )
        for fn in (work, broken)
    )


def purgatory() -> Pair:
    """Its `async with` block, on a breaker that is looked up once."""
    from purgatory import AsyncCircuitBreakerFactory

    factory = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=3600)

    async def breakers():
        return [await factory.get_breaker(name) for name in ("closed", "opened")]

    return tuple(
        Case("async with breaker:\n    await fn()", {"breaker": breaker, "fn": fn}, block=True)
        for breaker, fn in zip(asyncio.run(breakers()), (work, broken), strict=True)
    )


PEERS: dict[str, Callable[[], Pair]] = {
    "resilix": resilix,
    "keel-circuit-breaker": keel,
    "purgatory": purgatory,
    "circuitbreaker": circuitbreaker,
    "hyx": hyx,
    "nopanic": nopanic,
    "aiobreaker": aiobreaker,
    "pybreaker": pybreaker,
    "interlock-cb": interlock,
}
