"""Real workers and instances around a real Valkey that is killed, frozen and emptied."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio

from tests.gateway.load_clients import load_clients, until
from tests.gateway.workers.worker_processes import SERVICE, Gateway, gateway
from tests.valkey import ValkeyServer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SUCCESSES = f'outcome="success",service="{SERVICE}"'


async def shown(found: Gateway) -> float | None:
    """The sum that some worker shows; None if it shows none."""
    if "circuit_breaker_calls_total{" not in (text := (await found.ask("/metrics")).text):
        return None
    (line,) = [
        one for one in text.splitlines() if one.startswith(f"circuit_breaker_calls_total{{{SUCCESSES}}}")
    ]
    return float(line.split()[-1])


@asynccontextmanager
async def never_decreasing(found: Gateway) -> AsyncIterator[list[float]]:
    """Scrape during the block; fail if a sum is lower than an earlier one."""
    sums: list[float] = []

    async def scrape() -> None:
        while True:
            # A worker may be killed while it answers.
            with suppress(httpx.TransportError):
                if (value := await shown(found)) is not None:
                    sums.append(value)
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrape)
        yield sums
        nursery.cancel_scope.cancel()
    assert sums == sorted(sums)


async def counted(found: Gateway, total: float) -> None:
    """Wait until every worker shows this sum."""
    with trio.fail_after(60):
        right = 0
        while right < 12:
            right = right + 1 if await shown(found) == total else 0


async def test_no_sum_goes_down_when_workers_die(tmp_path: Path, valkey: ValkeyServer) -> None:
    async with gateway(tmp_path, workers=3, VALKEY_URL=valkey.url) as found, never_decreasing(found) as sums:
        async with load_clients(found.port) as clients:
            for _ in range(2):
                await clients.progress(100)
                os.kill((await found.staffed())[0], signal.SIGKILL)
                await found.staffed()
            await clients.progress(100)
            answered = clients.answered
        await until(lambda: bool(sums) and sums[-1] >= answered / 2, 60)
    assert len(sums) > 10


@pytest.mark.resilience
async def test_no_sum_goes_down_when_workers_and_store_come_and_go(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    """With three workers: one is killed; the store is frozen, emptied and killed; and once both at a time."""
    async with gateway(tmp_path, workers=3, VALKEY_URL=valkey.url) as found, never_decreasing(found) as sums:
        answered = 0
        async with load_clients(found.port) as clients:
            await clients.progress(100)
            os.kill((await found.staffed())[0], signal.SIGKILL)
            await found.staffed()
            await clients.progress(100)
            valkey.freeze()
            await clients.progress(100)
            os.kill((await found.staffed())[1], signal.SIGKILL)
            await found.staffed()
            valkey.thaw()
            await clients.progress(100)
            valkey.flush()
            await clients.progress(100)
            valkey.restart()
            await clients.progress(100)
            answered = clients.answered
        await until(lambda: bool(sums) and sums[-1] >= answered / 2, 60)
    assert len(sums) > 20


async def test_a_store_that_hangs_delays_no_request_and_no_end(tmp_path: Path, valkey: ValkeyServer) -> None:
    """Clients are served at once, and SIGTERM ends all workers in a second or so."""
    async with gateway(tmp_path, workers=2, VALKEY_URL=valkey.url) as found:
        valkey.freeze()
        await until(lambda: found.log().count("the shared store is gone") == 2, 60)
        assert "Traceback" not in found.log()
        began = trio.current_time()
        for _ in range(10):
            assert (await found.ask("/auth/ping")).status_code == 200
        # The limit allows for a busy machine.
        assert trio.current_time() - began < 10
        found.process.terminate()
        with trio.fail_after(5):
            assert await found.process.wait() == 0


async def test_instances_are_listed_and_never_added_up(tmp_path: Path, valkey: ValkeyServer) -> None:
    """Two gateways of two workers each: the counts of one aren't in the /metrics of the other."""
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    async with (
        gateway(folders[0], workers=2, VALKEY_URL=valkey.url) as one,
        gateway(folders[1], workers=2, VALKEY_URL=valkey.url) as other,
    ):
        for _ in range(5):
            assert (await one.ask("/auth/ping")).status_code == 200
        await counted(one, 5)
        await counted(other, 0)
        for asked, elsewhere in ((one, other), (other, one)):
            with trio.fail_after(60):
                while True:
                    data = (await asked.ask("/health")).json()["data"]
                    if [item["workers"] for item in data["instances"]] == [2]:
                        break
                    await trio.sleep(0.1)
            assert data["instances"][0]["address"] == f"127.0.0.1:{elsewhere.port}"
            assert data["instances"][0]["breakers"][SERVICE]["state"] == "CLOSED"
            assert data["sharing"]["connected"]
