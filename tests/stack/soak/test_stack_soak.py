"""Mixed load on the whole real stack while its processes are killed, frozen, stopped, restarted and reloaded.

SOAK_SECONDS is its length (120). Afterwards no process holds tasks, open files or memory of the load, and no
acknowledged write is lost.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from deploy.demo.ephemeral_stack import EphemeralStack
from tests.stack.running import RunningStack, registration_numbers
from tests.stack.soak.resource_usage import ResourceUsage

pytestmark = pytest.mark.resilience

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
CLIENTS = 12
CALM_SECONDS = 60.0
"""Longer than any process keeps an idle connection to a service."""
MOST_GROWTH = 12 * 1024 * 1024
FEW = 2
"""Tasks or files that a service may hold more than before, for its driver's connections to MongoDB."""
SERVICES = ("auth-service", "school-service", "student-service")
OURS = (*SERVICES, "api-gateway")
ADMIN_TOKEN = "admin-token-0123456789-0123456789"
EXPECTED = {200, 201, 400, 401, 404, 409, 413, 429, 502, 503, 504}
"""The statuses that a client may get during any fault; never 500."""


@pytest.fixture
def soaked(tmp_path: Path) -> Iterator[tuple[RunningStack, ResourceUsage]]:
    """A stack of this test's own, and the resource usage of its processes."""
    usage = ResourceUsage(tmp_path)
    with EphemeralStack(1.0, ADMIN_TOKEN=ADMIN_TOKEN, UPSTREAM_TIMEOUT="3", **usage.settings) as stack:
        yield RunningStack(stack, stack.sign_up(), 0), usage


class Visitors:
    """Clients that make one visit after the other. Every third visit is aborted within 0.3 s.

    acknowledged: the registration numbers of all schools whose creation returned 201.
    """

    def __init__(self, running: RunningStack, chance: random.Random) -> None:
        self._chance = chance
        self._stack = running.stack
        self._headers = running.bearer
        self.ended: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.acknowledged: list[str] = []
        self._number = 0

    async def visit_for_ever(self) -> None:
        """Be one client until cancelled; each visit has a new connection."""
        visits = (self.log_in, self.school, self.student, self.look, self.upload, self.trickle, self.watch)
        while True:
            patience = self._chance.uniform(0, 0.3) if self._chance.random() < 0.34 else 30.0
            how = "completed"
            with trio.move_on_after(patience) as scope:
                try:
                    async with httpx.AsyncClient(
                        base_url=self._stack.config.gateway, timeout=20, trust_env=False
                    ) as client:
                        await self._chance.choice(visits)(client)
                except httpx.TransportError:
                    how = "broken off"
            self.ended["aborted" if scope.cancelled_caught else how] += 1
            assert not scope.cancelled_caught or patience < 20, "a visit never ended"

    async def call(self, client: httpx.AsyncClient, method: str, path: str, **more: object) -> httpx.Response:
        """Send one request. Fails if its status isn't in EXPECTED."""
        answer = await client.request(method, path, headers=self._headers, **more)
        self.statuses[answer.status_code] += 1
        assert answer.status_code in EXPECTED, (method, path, answer.text)
        assert answer.is_success or answer.json()["error"]
        return answer

    def new_name(self) -> str:
        """A name that isn't used yet."""
        self._number += 1
        return f"S-{self._number}"

    async def log_in(self, client: httpx.AsyncClient) -> None:
        """With the right or a wrong e-mail address."""
        email = self._chance.choice(("head@example.org", "nobody@example.org"))
        await self.call(client, "POST", "/auth/login", json={"email": email, "password": "correct horse"})

    async def school(self, client: httpx.AsyncClient) -> None:
        """Create a school, change it, and read it."""
        name = self.new_name()
        made = await self.call(client, "POST", "/schools", json={"registration_number": name, "name": name})
        if made.status_code == 201:
            self.acknowledged.append(name)
            path = f"/schools/{made.json()['data']['id']}"
            await self.call(
                client, "PUT", path, json={"registration_number": name, "name": f"{name} changed"}
            )
            await self.call(client, "GET", path)

    async def student(self, client: httpx.AsyncClient) -> None:
        """Create a student, which calls the school service over gRPC. Delete every second one."""
        name = self.new_name()
        body = {"roll_number": name, "first_name": "A", "last_name": name, "school_id": 1}
        made = await self.call(client, "POST", "/students", json=body)
        if made.status_code == 201 and self._chance.random() < 0.5:
            await self.call(client, "DELETE", f"/students/{made.json()['data']['id']}")

    async def look(self, client: httpx.AsyncClient) -> None:
        """Send several requests on one connection."""
        for path in ("/schools?limit=5", "/students?limit=5", "/students/school/1", "/schools/x"):
            await self.call(client, "GET", path)
        for path in ("/health", "/metrics", "/docs"):
            await client.get(path)

    async def upload(self, client: httpx.AsyncClient) -> None:
        """Send an invalid body, or one that is too large."""
        await self.call(
            client, "POST", "/schools", content=bytes(self._chance.choice((10**5, 3 * 10**6, 10**7)))
        )

    async def trickle(self, client: httpx.AsyncClient) -> None:
        """Send a body in pieces; the service may stop meanwhile."""

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield b" " * 20_000
                await trio.sleep(0.1)

        await self.call(client, "POST", "/students", content=pieces())

    async def watch(self, client: httpx.AsyncClient) -> None:
        """Read the dashboard's event stream for a while."""
        with trio.move_on_after(self._chance.uniform(0.2, 2)):
            async with client.stream("GET", "/dashboard/events") as stream:
                async for _ in stream.aiter_raw():
                    pass


class FaultInjector:
    """Injects one fault after the other, in all processes except the gateway."""

    def __init__(self, stack: EphemeralStack, chance: random.Random) -> None:
        self._stack = stack
        self._chance = chance
        self.done: Counter[str] = Counter()

    async def run(self) -> None:
        """Inject faults until cancelled. Finishes the last one, so that no process stays frozen."""
        while True:
            await trio.sleep(self._chance.uniform(1, 4))
            fault, name = self._chance.choice(self._faults())
            try:
                with trio.CancelScope(shield=True):
                    await fault(name)
                self.done[f"{fault.__name__} {name}"] += 1
            except LookupError:
                pass  # the process isn't running again after the last fault

    def _faults(self) -> list[tuple[Callable[[str], Awaitable[None]], str]]:
        return [
            *(
                (fault, name)
                for fault in (self.kill, self.freeze, self.stop, self.reload)
                for name in SERVICES
            ),
            (self.kill, "mongodb"),
            (self.freeze, "mongodb"),
            (self.reload, "api-gateway"),
        ]

    async def kill(self, name: str) -> None:
        """Kill it, as a crash does; supervisor restarts it."""
        await trio.to_thread.run_sync(self._stack.kill, name)

    async def freeze(self, name: str) -> None:
        """Suspend it: it accepts connections, and doesn't respond."""
        pid = await trio.to_thread.run_sync(self._stack.pid, name)
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(self._chance.uniform(0.5, 5))
        os.kill(pid, signal.SIGCONT)

    async def stop(self, name: str) -> None:
        """Stop it and start it again, as an operator does."""
        await trio.to_thread.run_sync(partial(self._stack.run, "stop", name, check=False))
        await trio.sleep(self._chance.uniform(0, 2))
        await trio.to_thread.run_sync(partial(self._stack.run, "start", name, check=False))

    async def reload(self, name: str) -> None:
        """Let it reload the policies."""
        os.kill(await trio.to_thread.run_sync(self._stack.pid, name), signal.SIGHUP)


async def load(visitors: Visitors, seconds: float) -> None:
    """Run all clients for some seconds."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(visitors.visit_for_ever)


async def at_rest(running: RunningStack, usage: ResourceUsage) -> dict[str, dict[str, Any]]:
    """The resource usage of each process without load, after idle connections have expired."""
    assert await trio.to_thread.run_sync(running.all_closed)
    await trio.sleep(CALM_SECONDS)
    found = {}
    for name in OURS:
        found[name] = await usage.of(running.stack.pid(name))
    return found


def without_names(usage: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The numbers of each process alone."""
    return {name: {kind: n for kind, n in one.items() if kind != "names"} for name, one in usage.items()}


def in_flight(data: dict) -> int:
    """The calls in flight of all breakers in the `data` of /health."""
    own = [data[name] for name in ("auth", "school", "student")]
    deeper = [dependency for one in own for dependency in one["dependencies"].values()]
    return sum(one["circuit_breaker"]["in_flight"] for one in (*own, *deeper))


async def watch_memory(pid: int, usage: ResourceUsage, into: list[int]) -> None:
    """Add a process's memory to a list forty times during the soak."""
    while True:
        await trio.sleep(SECONDS / 40)
        into.append((await usage.of(pid))["memory"])


async def test_after_mixed_load_and_faults_no_process_holds_anything_of_it(soaked):
    """No process holds more than before, and no acknowledged school is lost."""
    running, usage = soaked
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    visitors, faults, memory = Visitors(running, chance), FaultInjector(running.stack, chance), []
    made = running.call("POST", "/schools", registration_number="S-0", name="S-0").json()
    running.school = made["data"]["id"]
    gateway = running.stack.pid("api-gateway")

    await load(visitors, 10)
    before = await at_rest(running, usage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faults.run)
        nursery.start_soon(watch_memory, gateway, usage, memory)
        await load(visitors, SECONDS)
        nursery.cancel_scope.cancel()
    running.stack.run("up")
    assert await trio.to_thread.run_sync(running.all_closed)
    await load(visitors, 10)
    after = await at_rest(running, usage)

    summary = f"seed {seed}: {dict(faults.done)}, {dict(visitors.ended)}, {dict(visitors.statuses)}"
    found = f"{summary}\nbefore {without_names(before)}\nafter {without_names(after)}\nmemory {memory}"
    print(found)  # noqa: T201 - shown by pytest -s, and if the test fails
    assert running.stack.pid("api-gateway") == gateway, "the gateway wasn't restarted"
    assert in_flight(running.stack.health()[1]) == 0
    for name in OURS:
        more = 0 if name == "api-gateway" else FEW
        for kind in ("tasks", "asyncio", "files"):
            grown = Counter(after[name]["names"]) - Counter(before[name]["names"])
            assert after[name][kind] <= before[name][kind] + more, (name, kind, grown)
    warm = memory[len(memory) // 4 :]
    third = len(warm) // 3
    assert statistics.median(warm[-third:]) - statistics.median(warm[:third]) < MOST_GROWTH
    assert set(visitors.acknowledged) <= set(registration_numbers(running))
    assert visitors.acknowledged
    assert all(visitors.ended[how] > SECONDS / 10 for how in ("completed", "aborted"))
    assert sum(faults.done.values()) > SECONDS / 15
    for name in OURS:
        for line in running.stack.log(name).splitlines():
            if "Traceback" in line:
                pytest.fail(f"{name}: {line}")
