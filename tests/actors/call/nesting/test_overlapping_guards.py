"""Guards that overlap, or end in another task than they began in."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from actors import Guard
from actors.call.nesting.held_call import HELD
from tests.actors.call.nesting.calls import opened


async def test_guards_that_end_elsewhere_or_out_of_order_do_not_pile_up() -> None:
    async with opened("plain") as breaker:
        handed: list[Guard] = []
        for _ in range(100):
            first, second = breaker.guard(), breaker.guard()
            await first.__aenter__()
            await second.__aenter__()
            await first.__aexit__(None, None, None)
            await second.__aexit__(None, None, None)
            async with AsyncExitStack() as stack:
                handed.append(await stack.enter_async_context(breaker.guard()))
                ending = stack.pop_all()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ending.aclose)
        depth, held = 0, HELD.get()
        while held is not None:
            depth, held = depth + 1, held.outer
        assert depth <= 1
        assert (await breaker.snapshot()).in_flight == 0


async def test_a_joined_guard_that_outlives_its_outer_call_loses_no_failure() -> None:
    async with opened("plain") as breaker:
        outer, joined = breaker.guard(), breaker.guard()
        await outer.__aenter__()
        await joined.__aenter__()
        await outer.__aexit__(None, None, None)
        await joined.__aexit__(OSError, OSError("later"), None)
        snapshot = await breaker.snapshot()
    assert snapshot.counts["success"] == 1
    assert snapshot.counts["failure"] == 1
    assert snapshot.failure_count == 1
    assert snapshot.in_flight == 0


async def test_a_guard_joins_no_guard_whose_outer_call_has_ended() -> None:
    async with opened("plain") as breaker:
        outer, joined, later = breaker.guard(), breaker.guard(), breaker.guard()
        await outer.__aenter__()
        await joined.__aenter__()
        await outer.__aexit__(None, None, None)
        await later.__aenter__()
        assert (await breaker.snapshot()).in_flight == 1
        await later.__aexit__(OSError, OSError("its own"), None)
        await joined.__aexit__(None, None, None)
        snapshot = await breaker.snapshot()
    assert snapshot.counts["success"] == 1
    assert snapshot.counts["failure"] == 1
    assert snapshot.in_flight == 0
