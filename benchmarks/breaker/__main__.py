"""Measure the time of a guarded call: bare calls, this breaker and its peers, in one interleaved run.

`python -m benchmarks.breaker` prints each goal with the value reached. `--write` also writes the table and
its picture to docs/reference/speed. Absolute times depend on the machine: compare only ratios of one run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import tracemalloc
from collections.abc import Mapping

import trio
import trio.testing

from actors import DURATION_BUCKETS, CircuitBreakerConfig, Panel, open_panel
from benchmarks.breaker.peers import PEERS, Case, Pair, broken, work
from benchmarks.breaker.report import BARE, DECORATOR, EXECUTE, PASS, TIMED, Result, report

Times = dict[str, float]


def pass_through(fn):
    """The cheapest decorator possible: it awaits the function and does nothing else."""

    async def wrapper(*args, **kwargs):
        return await fn(*args, **kwargs)

    return wrapper


async def interleaved(cases: dict[str, Case], rounds: int, calls: int, *, raises: bool = False) -> Times:
    """Nanoseconds per call of each case: the median over rounds. Every round runs every case once."""
    loops = {name: case.loop(raises=raises) for name, case in cases.items()}
    times: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, loop in loops.items():
                start = time.perf_counter_ns()
                await loop(calls)
                times[name].append((time.perf_counter_ns() - start) / calls)
            await trio.lowlevel.checkpoint()
    finally:
        gc.enable()
    return {name: statistics.median(found) for name, found in times.items()}


async def one_caller(
    pairs: Mapping[str, Pair], panel: Panel, timing: Panel, rounds: int, calls: int
) -> tuple[Times, Times, Times]:
    """Nanoseconds per call of one caller: CLOSED, OPEN, and failing calls."""
    breaker = panel.breaker(CircuitBreakerConfig(name="closed"))
    timed = timing.breaker(CircuitBreakerConfig(name="timed"))
    opened = panel.breaker(CircuitBreakerConfig(name="open", reset_timeout=3600))
    failing = panel.breaker(CircuitBreakerConfig(name="failing", max_failures=10**9))
    await opened.trip()
    closed = {
        BARE: Case("fn()", {"fn": work}),
        PASS: Case("call()", {"call": pass_through(work)}),
        DECORATOR: Case("call()", {"call": breaker.protect(work)}),
        EXECUTE: Case("breaker.execute(fn)", {"breaker": breaker, "fn": work}),
        TIMED: Case("breaker.execute(fn)", {"breaker": timed, "fn": work}),
    }
    rejected = {
        DECORATOR: Case("call()", {"call": opened.protect(work)}),
        EXECUTE: Case("breaker.execute(fn)", {"breaker": opened, "fn": work}),
    }
    for name, pair in pairs.items():
        closed[name], rejected[name] = pair
        await rejected[name].loop(raises=True)(20)
    fails = {
        "raise and catch": Case("fn()", {"fn": broken}),
        EXECUTE: Case("breaker.execute(fn)", {"breaker": failing, "fn": broken}),
    }
    return (
        await interleaved(closed, rounds, calls),
        await interleaved(rejected, rounds, calls // 4, raises=True),
        await interleaved(fails, rounds, calls // 40, raises=True),
    )


async def many_callers(panel: Panel, rounds: int, callers: int = 1000, each: int = 20) -> float:
    """Time of concurrent tasks through one breaker, divided by the time of the same tasks without it."""
    breaker = panel.breaker(CircuitBreakerConfig(name="many-callers"))
    checkpoint = trio.lowlevel.checkpoint

    async def through() -> None:
        for _ in range(each):
            await breaker.execute(checkpoint)

    async def without() -> None:
        for _ in range(each):
            await checkpoint()

    ratios = []
    for _ in range(rounds):
        seconds = {}
        for caller in (without, through):
            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(callers):
                    nursery.start_soon(caller)
            seconds[caller] = time.perf_counter() - start
        ratios.append(seconds[through] / seconds[without])
    return statistics.median(ratios)


async def many_breakers(rounds: int, calls: int = 10_000) -> tuple[float, float]:
    """Time of calls spread over 10,000 breakers divided by 100 breakers', and bytes per breaker."""
    async with open_panel() as few, open_panel() as many:
        small = [few.breaker(CircuitBreakerConfig(name=str(n))) for n in range(100)]
        configs = [CircuitBreakerConfig(name=str(n)) for n in range(10_000)]
        gc.collect()
        tracemalloc.start()
        large = [many.breaker(config) for config in configs]
        await trio.testing.wait_all_tasks_blocked()
        size = tracemalloc.get_traced_memory()[0] / len(large)
        tracemalloc.stop()
        spread = {
            100: [b.protect(work) for b in small] * (calls // 100),
            10_000: [b.protect(work) for b in large],
        }
        times: dict[int, list[float]] = {100: [], 10_000: []}
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for count, protected in spread.items():
                start = time.perf_counter()
                for call in protected:
                    await call()
                times[count].append(time.perf_counter() - start)
            await trio.lowlevel.checkpoint()
        gc.unfreeze()
        return statistics.median(times[10_000]) / statistics.median(times[100]), size


async def measure(pairs: Mapping[str, Pair], rounds: int, calls: int) -> Result:
    """Run every measurement once."""
    async with open_panel() as panel, open_panel(durations=DURATION_BUCKETS) as timing:
        closed, opened, failing = await one_caller(pairs, panel, timing, rounds, calls)
        concurrent = await many_callers(panel, rounds)
    spread, size = await many_breakers(rounds)
    return Result(closed, opened, failing, concurrent, spread, size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=20_000, help="calls per round and case")
    parser.add_argument("--write", action="store_true", help="also write the report to docs/reference/speed")
    arguments = parser.parse_args()
    # Some peers run asyncio for their set-up, which isn't possible once trio runs.
    peers = {name: make() for name, make in PEERS.items()}
    report(trio.run(measure, peers, arguments.rounds, arguments.calls), write=arguments.write)
