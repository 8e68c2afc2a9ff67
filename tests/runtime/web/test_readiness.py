"""How long a process serves requests after a stop signal."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from runtime.web.readiness import Readiness


@pytest.mark.parametrize("delay", [0.0, 30.0])
async def test_readyz_is_503_at_once_and_the_process_stops_after_the_delay(
    delay: float, autojump_clock: trio.testing.MockClock
) -> None:
    readiness, told, stopped = Readiness(), trio.Event(), trio.Event()

    async def wait() -> None:
        await readiness.stop_after(delay, told.wait)()
        stopped.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        assert not readiness.stopping
        told.set()
        start = trio.current_time()
        await stopped.wait()
        assert readiness.stopping
        assert trio.current_time() - start == pytest.approx(delay)
