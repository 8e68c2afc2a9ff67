"""A fleet of processes that share a breaker through a real Valkey."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.actors.sharing.process.instance import LEASE, NAME
from tests.actors.sharing.process.upstream import Probe, Upstream
from tests.valkey import ValkeyServer

NEXT_PROBE_SECONDS = LEASE + 1.5
RESUME_SECONDS = 5.0
END_SECONDS = 1.0


class ProcessInstance:
    """One process, and its reports."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self.status: dict[str, Any] = {}
        self.transitions: list[dict[str, Any]] = []
        self.errors: list[str] = []
        # The times when SIGTERM arrived, and when the trio.run had ended.
        self.times: dict[str, float] = {}
        self.lag = 0.0
        self.ready = trio.Event()

    def take(self, line: dict[str, Any]) -> None:
        """Note one report."""
        if line["kind"] == "ready":
            self.ready.set()
        elif line["kind"] == "transition":
            self.transitions.append(line)
            self.status["state"] = line["new"]
        elif line["kind"] in ("ending", "ended"):
            self.times[line["kind"]] = line["at"]
        elif line["kind"] == "error":
            self.errors.append(line["error"])
        else:
            self.status.update(line)
            self.lag = max(self.lag, line["lag"])

    @property
    def state(self) -> str:
        return str(self.status.get("state"))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


class ProcessFleet:
    """Instances by name, in the order of their start; the store; the upstream.

    lag: the longest delay of this process; with those of the instances, the noise of the machine.
    """

    def __init__(self, nursery: trio.Nursery, server: ValkeyServer) -> None:
        self.nursery = nursery
        self.server = server
        self.upstream = Upstream()
        self.instances: dict[str, ProcessInstance] = {}
        self.lag = 0.0
        self._started = 0

    # Processes.

    async def start(self) -> ProcessInstance:
        """Start one more instance, and wait until it calls."""
        name = f"instance-{self._started}"
        self._started += 1
        # In this thread: it dies with the thread that started it.
        process = subprocess.Popen(  # noqa: ASYNC220
            [
                *(sys.executable, "-m", "tests.actors.sharing.process.instance"),
                *(self.server.url, str(self.upstream.port), name),
            ],
            stdout=subprocess.PIPE,
        )
        one = self.instances[name] = ProcessInstance(name, process)
        self.nursery.start_soon(self._read, one)
        with trio.fail_after(180):
            await one.ready.wait()
        return one

    async def _read(self, one: ProcessInstance) -> None:
        assert one.process.stdout is not None
        left = b""
        async with trio.lowlevel.FdStream(os.dup(one.process.stdout.fileno())) as stream:
            async for more in stream:
                *lines, left = (left + more).split(b"\n")
                for line in lines:
                    one.take(json.loads(line))

    async def end(self, one: ProcessInstance, number: signal.Signals) -> float:
        """End an instance by a signal. Return the seconds until its trio.run has ended, after SIGTERM.

        Python's own exit comes after that. On a busy machine it takes more than a second by itself.
        """
        start = time.monotonic()
        one.signal(number)
        with trio.fail_after(30):
            while one.process.poll() is None:  # noqa: ASYNC110
                await trio.sleep(0.005)
        del self.instances[one.name]
        assert one.process.stdout is not None
        one.process.stdout.close()
        return one.times.get("ended", start) - start

    def kill_all(self) -> None:
        for one in self.instances.values():
            one.process.kill()
            one.process.wait()

    async def watch_lag(self) -> None:
        while True:
            due = trio.current_time() + 0.05
            await trio.sleep_until(due)
            self.lag = max(self.lag, trio.current_time() - due)

    # Measurements for the tests.

    def begin(self) -> None:
        """Begin a round: measure the machine's noise anew."""
        self.lag = 0.0
        for one in self.instances.values():
            one.lag = 0.0

    @property
    def noise(self) -> float:
        """Seconds by which this round's processes were late at worst: the test's, and an instance's."""
        return self.lag + max((one.lag for one in self.instances.values()), default=0.0)

    def all_are(self, state: str) -> bool:
        return all(one.state == state for one in self.instances.values())

    def all_connected(self) -> bool:
        return all(one.status.get("connected") for one in self.instances.values())

    def rejected(self) -> dict[str, int]:
        return {one.name: one.status.get("rejected", 0) for one in self.instances.values()}

    def record(self) -> dict[str, str]:
        """The shared record: its generation and whether it is open."""
        words = ("generation", "is_open")
        lines = self.server.command("HMGET", f"trio-breakers:1:{{{NAME}}}", *words).split("\r\n")
        return dict(zip(words, [line for line in lines if line and line[0] not in "*$"], strict=False))

    async def until(self, condition: Callable[[], object], within: float) -> float:
        """Wait until the condition holds, and return the seconds; those that the machine lost don't count.

        Raises AssertionError with the fleet's state.
        """
        start = trio.current_time()
        while not condition():
            taken = trio.current_time() - start
            states = {one.name: one.status for one in self.instances.values()}
            assert taken <= within + self.noise, f"not within {within} + {self.noise:.2f} s: {states}"
            await trio.sleep(0.01)
        return trio.current_time() - start

    async def settled_counts(self) -> dict[str, int]:
        """The rejections of each instance, all of them: wait until each has reported anew."""
        now = time.monotonic()
        await self.until(lambda: all(one.status.get("at", 0) > now for one in self.instances.values()), 5)
        return self.rejected()

    async def probe(self, but: str = "", after: float = 0.0, within: float = 10.0) -> Probe:
        """Wait for a probe by a lease that is in flight, of another instance than `but`."""
        found: list[Probe] = []

        def is_there() -> bool:
            found[:] = [one for one in self.upstream.in_flight if one.instance != but and one.at >= after]
            return bool(found)

        await self.until(is_there, within)
        return found[0]


@asynccontextmanager
async def running_fleet(server: ValkeyServer, size: int = 5) -> AsyncIterator[ProcessFleet]:
    """Run a fleet during the block; all processes are killed at its end."""
    async with trio.open_nursery() as nursery:
        fleet = ProcessFleet(nursery, server)
        await nursery.start(fleet.upstream.serve)
        nursery.start_soon(fleet.watch_lag)
        try:
            async with trio.open_nursery() as starting:
                for _ in range(size):
                    starting.start_soon(fleet.start)
            await fleet.until(lambda: fleet.all_connected() and fleet.all_are("CLOSED"), within=10)
            yield fleet
        finally:
            fleet.kill_all()
            nursery.cancel_scope.cancel()
