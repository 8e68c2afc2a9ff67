"""Mixed load on a real gateway process, with an upstream that misbehaves, crashes and comes back.

SOAK_SECONDS is its length (120). Afterwards the gateway holds no task, connection, call, open file or memory
of the load.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from deploy.demo.ephemeral_stack import free_ports
from tests.stack.soak.clients import SoakClients
from tests.stack.soak.resource_usage import ResourceUsage
from tests.stack.soak.upstream import crashing_upstream

pytestmark = [
    pytest.mark.resilience,
    pytest.mark.skipif(sys.platform != "linux", reason="counts open files and memory in /proc"),
]

ROOT = Path(__file__).resolve().parents[3]
SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
CLIENTS = 24
WARM_UP = 0.25
MOST_GROWTH = 12 * 1024 * 1024
QUIET_SECONDS = 45.0
"""Longer than the half minute for which the gateway keeps idle connections to an upstream."""


class GatewayProcess:
    """The gateway's process, and its resource usage."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        [self.port] = free_ports(1)
        self._usage = ResourceUsage(folder)
        policy = "".join(
            f"[breakers.{name}-service-http]\nmax_failures = 50\nreset_timeout = 1\n"
            for name in ("auth", "school", "student")
        )
        (folder / "breakers.toml").write_text(policy)
        self._log = (folder / "log").open("w")
        settings = {
            "GATEWAY_PORT": str(self.port),
            "AUTH_SERVICE_URL": f"http://127.0.0.1:{upstream_port}",
            "SCHOOL_SERVICE_URL": "http://127.0.0.1:1",
            "STUDENT_SERVICE_URL": "http://127.0.0.1:1",
            "CIRCUIT_BREAKERS": str(folder / "breakers.toml"),
            "RATE_LIMIT_PER_MINUTE": "1000000000",
            "UPSTREAM_TIMEOUT": "2",
            "LOG_FORMAT": "json",
            **self._usage.settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    async def ready(self) -> None:
        """Wait until it accepts connections. Fails after 20 s."""
        with trio.fail_after(20):
            while True:
                try:
                    await trio.aclose_forcefully(await trio.open_tcp_stream("127.0.0.1", self.port))
                    return
                except OSError:
                    await trio.sleep(0.05)

    async def usage(self) -> dict[str, Any]:
        """Its tasks, open files and memory now."""
        return await self._usage.of(self.process.pid)

    async def in_flight(self) -> int:
        """The calls in flight of all its breakers."""
        async with httpx.AsyncClient(trust_env=False) as client:
            data = (await client.get(f"http://127.0.0.1:{self.port}/health")).json()["data"]
        return sum(data[name]["circuit_breaker"]["in_flight"] for name in ("auth", "school", "student"))

    async def quiet(self, tasks: int, files: int) -> dict[str, Any]:
        """Wait until it holds at most so many tasks and files, QUIET_SECONDS at most. Returns its usage."""
        found = await self.usage()
        with trio.move_on_after(QUIET_SECONDS):
            while found["tasks"] > tasks or found["files"] > files:
                await trio.sleep(0.5)
                found = await self.usage()
        return found

    def end(self) -> int:
        """Terminate it, and return its exit status. Raises TimeoutExpired after 15 s."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


async def watch_memory(gateway: GatewayProcess, into: list[int]) -> None:
    """Add its memory to a list forty times during the soak."""
    while True:
        await trio.sleep(SECONDS / 40)
        into.append((await gateway.usage())["memory"])


async def test_after_mixed_load_the_gateway_holds_nothing_of_it(tmp_path):
    """No more tasks, open files or memory than before, and no calls in flight."""
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    [upstream_port] = free_ports(1)
    gateway = GatewayProcess(tmp_path, upstream_port)
    clients, memory = SoakClients(gateway.port, chance), []
    try:
        await gateway.ready()
        await trio.sleep(1)
        before = await gateway.usage()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crashing_upstream, upstream_port, chance)
            nursery.start_soon(watch_memory, gateway, memory)
            for _ in range(CLIENTS):
                nursery.start_soon(clients.visit_for_ever)
            await trio.sleep(SECONDS)
            nursery.cancel_scope.cancel()
        assert await gateway.in_flight() == 0
        after = await gateway.quiet(before["tasks"], before["files"])
        found = f"seed {seed}: {dict(clients.ended)}, before {before}, after {after}, memory {memory}"
        print(found)  # noqa: T201 - shown by pytest -s, and if the test fails
        assert after["tasks"] <= before["tasks"]
        assert after["files"] <= before["files"]
        warm = memory[int(len(memory) * WARM_UP) :]
        third = len(warm) // 3
        assert statistics.median(warm[-third:]) - statistics.median(warm[:third]) < MOST_GROWTH
        assert all(clients.ended[how] > SECONDS / 10 for how in ("completed", "aborted", "broken off"))
    finally:
        code = gateway.end()
    assert code == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
