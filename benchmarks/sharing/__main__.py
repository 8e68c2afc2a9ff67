"""Measure what sharing costs: a call with and without it, and the store as instances and breakers grow.

`python -m benchmarks.sharing` prints the goals and the figures; `--write` also writes them and a picture to
docs/reference/speed. Calls are compared in alternating rounds of one run: without sharing, with a healthy
Valkey, and with one that hangs. Instances of the second part are panels in this process, with connections of
their own; the server's own counters say how many commands and bytes they cost it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, open_panel
from actors.adapters.valkey import share_breakers
from benchmarks.sharing.report import ALONE, HEALTHY, HUNG, Load, Result, report
from benchmarks.sharing.traffic import ServerCounters, counters
from tests.valkey import ValkeyServer, running_valkey

GRID = ((1, 10), (10, 1), (10, 10), (25, 4), (50, 1), (50, 4))
"""Instances and breakers of each."""
SETTLE = 3.0


async def work() -> None:
    pass


async def loop(breaker: CircuitBreaker, calls: int) -> float:
    """Nanoseconds per call."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        await breaker.execute(work)
    return (time.perf_counter_ns() - start) / calls


@asynccontextmanager
async def shared_panel(url: str) -> AsyncIterator[Panel]:
    async with open_panel() as panel, share_breakers(panel, url) as sharing:
        panel.breaker(CircuitBreakerConfig(name="it"))
        with trio.move_on_after(10):
            while not sharing.status().connected:  # noqa: ASYNC110
                await trio.sleep(0.02)
        yield panel


async def cost_of_calls(rounds: int, calls: int) -> dict[str, float]:
    """Nanoseconds per call, the median over rounds. Each round measures all three."""
    times: dict[str, list[float]] = {ALONE: [], HEALTHY: [], HUNG: []}
    with running_valkey() as healthy, running_valkey() as hung:
        async with (
            open_panel() as alone,
            shared_panel(healthy.url) as with_healthy,
            shared_panel(hung.url) as with_hung,
        ):
            panels = {ALONE: alone, HEALTHY: with_healthy, HUNG: with_hung}
            breakers = {
                name: panel.breaker(CircuitBreakerConfig(name="it")) for name, panel in panels.items()
            }
            hung.freeze()
            names = list(breakers)
            for number in range(rounds):
                for name in names[number % 3 :] + names[: number % 3]:
                    times[name].append(await loop(breakers[name], calls))
                # The sharing's own tasks get their turn.
                await trio.sleep(0.02)
            hung.thaw()
    return {name: statistics.median(found) for name, found in times.items()}


async def load(server: ValkeyServer, instances: int, breakers: int, seconds: float) -> Load:
    """What closed breakers with a success a second cost the store, per second."""
    async with AsyncExitStack() as stack:
        panels = [await stack.enter_async_context(open_panel()) for _ in range(instances)]
        shared = [await stack.enter_async_context(share_breakers(panel, server.url)) for panel in panels]
        all_breakers = [
            panel.breaker(CircuitBreakerConfig(name=f"b{number}"))
            for panel in panels
            for number in range(breakers)
        ]
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def call_each_second() -> None:
            while True:
                for one in all_breakers:
                    await one.execute(work)
                await trio.sleep(1)

        nursery.start_soon(call_each_second)
        with trio.fail_after(60):
            while not all(one.status().connected for one in shared):  # noqa: ASYNC110
                await trio.sleep(0.1)
        await trio.sleep(SETTLE)
        before, start = counters(server), time.monotonic()
        await trio.sleep(seconds)
        found: ServerCounters = counters(server) - before
        nursery.cancel_scope.cancel()
        return Load(instances, breakers, found.per_second(time.monotonic() - start))


async def measure(rounds: int, calls: int, seconds: float, most: int) -> Result:
    times = await cost_of_calls(rounds, calls)
    with running_valkey() as server:
        loads = [await load(server, *one, seconds) for one in GRID if one[0] <= most]
    return Result(times, loads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=5_000, help="calls per round and case")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load of the store")
    parser.add_argument("--most", type=int, default=50, help="instances, all in this process")
    parser.add_argument("--write", action="store_true", help="also write the report to docs/reference/speed")
    arguments = parser.parse_args()
    sizes = arguments.rounds, arguments.calls, arguments.seconds, arguments.most
    report(trio.run(measure, *sizes), write=arguments.write)
