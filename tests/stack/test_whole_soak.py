"""Mixed load on the whole real stack while its processes are killed, frozen, stopped, restarted and reloaded.

SOAK_SECONDS says for how long (120). Afterwards nothing of it is left in any process, no memory has grown,
and everything that was acknowledged is there.
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

import httpx
import pytest
import trio

from deploy.demo.ephemeral_stack import EphemeralStack
from tests.stack.resource_usage import ResourceUsage
from tests.stack.running import Running, registration_numbers

pytestmark = pytest.mark.resilience

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
CLIENTS = 12
CALM_SECONDS = 60.0
"""Longer than anybody keeps an idle connection to a service."""
MOST_GROWTH = 12 * 1024 * 1024
FEW = 2
"""What a service may hold more than before, since its driver looks after MongoDB; the gateway may nothing."""
SERVICES = ("auth-service", "school-service", "student-service")
OURS = (*SERVICES, "api-gateway")
ADMIN_TOKEN = "of-the-operators-0123456789"
EXPECTED = {200, 201, 400, 401, 404, 409, 413, 502, 503, 504}
"""What a client may be answered whatever is broken; a 500 never."""


@pytest.fixture
def soaked(tmp_path: Path) -> Iterator[tuple[Running, ResourceUsage]]:
    """A stack of this test's own, and what its processes tell of themselves."""
    usage = ResourceUsage(tmp_path)
    with EphemeralStack(1.0, ADMIN_TOKEN=ADMIN_TOKEN, UPSTREAM_TIMEOUT="3", **usage.settings) as stack:
        yield Running(stack, stack.sign_up(), 0), usage


class Visitors:
    """Clients that visit one after the other; every third leaves whenever it likes."""

    def __init__(self, running: Running, chance: random.Random) -> None:
        self._chance = chance
        self._stack = running.stack
        self._headers = running.bearer
        self.ended: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.acknowledged: list[str] = []
        self._number = 0

    async def visit_again_and_again(self) -> None:
        """Each visit on a connection of its own."""
        visits = (self.log_in, self.school, self.student, self.look, self.upload, self.trickle, self.watch)
        while True:
            patience = self._chance.uniform(0, 0.3) if self._chance.random() < 0.34 else 30.0
            how = "stayed"
            with trio.move_on_after(patience) as scope:
                try:
                    async with httpx.AsyncClient(
                        base_url=self._stack.config.gateway, timeout=20, trust_env=False
                    ) as client:
                        await self._chance.choice(visits)(client)
                except httpx.TransportError:
                    how = "broken off"
            self.ended["left" if scope.cancelled_caught else how] += 1
            assert not scope.cancelled_caught or patience < 20, "a visit never ended"

    async def call(self, client: httpx.AsyncClient, method: str, path: str, **more: object) -> httpx.Response:
        """One request, whose answer is one that a client may expect."""
        answer = await client.request(method, path, headers=self._headers, **more)
        self.statuses[answer.status_code] += 1
        assert answer.status_code in EXPECTED, (method, path, answer.text)
        assert answer.is_success or answer.json()["error"]
        return answer

    def new_name(self) -> str:
        """One that nobody has had."""
        self._number += 1
        return f"S-{self._number}"

    async def log_in(self, client: httpx.AsyncClient) -> None:
        """Right or wrong."""
        email = self._chance.choice(("head@example.org", "nobody@example.org"))
        await self.call(client, "POST", "/auth/login", json={"email": email, "password": "correct horse"})

    async def school(self, client: httpx.AsyncClient) -> None:
        """One is made, changed and looked at."""
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
        """One is enrolled, which asks the school service, and may leave again."""
        name = self.new_name()
        body = {"roll_number": name, "first_name": "A", "last_name": name, "school_id": 1}
        made = await self.call(client, "POST", "/students", json=body)
        if made.status_code == 201 and self._chance.random() < 0.5:
            await self.call(client, "DELETE", f"/students/{made.json()['data']['id']}")

    async def look(self, client: httpx.AsyncClient) -> None:
        """Several requests on one connection."""
        for path in ("/schools?limit=5", "/students?limit=5", "/students/school/1", "/schools/x"):
            await self.call(client, "GET", path)
        for path in ("/health", "/metrics", "/docs"):
            await client.get(path)

    async def upload(self, client: httpx.AsyncClient) -> None:
        """More than the service takes, or nonsense."""
        await self.call(
            client, "POST", "/schools", content=bytes(self._chance.choice((10**5, 3 * 10**6, 10**7)))
        )

    async def trickle(self, client: httpx.AsyncClient) -> None:
        """A body in pieces, whose service may go meanwhile."""

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(8):
                yield b" " * 20_000
                await trio.sleep(0.1)

        await self.call(client, "POST", "/students", content=pieces())

    async def watch(self, client: httpx.AsyncClient) -> None:
        """The dashboard's stream, for a while."""
        with trio.move_on_after(self._chance.uniform(0.2, 2)):
            async with client.stream("GET", "/dashboard/events") as stream:
                async for _ in stream.aiter_raw():
                    pass


class Chaos:
    """Breaks one thing after the other. The gateway itself lives through it all."""

    def __init__(self, stack: EphemeralStack, chance: random.Random) -> None:
        self._stack = stack
        self._chance = chance
        self.done: Counter[str] = Counter()

    async def reign(self) -> None:
        """Until cancelled; what has begun is finished, so that nothing stays frozen."""
        while True:
            await trio.sleep(self._chance.uniform(1, 4))
            act, name = self._chance.choice(self._acts())
            try:
                with trio.CancelScope(shield=True):
                    await act(name)
                self.done[f"{act.__name__} {name}"] += 1
            except LookupError:
                pass  # it isn't back yet from what was done to it before

    def _acts(self) -> list[tuple[Callable[[str], Awaitable[None]], str]]:
        return [
            *((act, name) for act in (self.kill, self.freeze, self.stop, self.reload) for name in SERVICES),
            (self.kill, "mongodb"),
            (self.freeze, "mongodb"),
            (self.reload, "api-gateway"),
        ]

    async def kill(self, name: str) -> None:
        """As a crash; supervisor brings it back."""
        await trio.to_thread.run_sync(self._stack.kill, name)

    async def freeze(self, name: str) -> None:
        """It accepts, and says nothing."""
        pid = await trio.to_thread.run_sync(self._stack.pid, name)
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(self._chance.uniform(0.5, 5))
        os.kill(pid, signal.SIGCONT)

    async def stop(self, name: str) -> None:
        """By the operator, for a moment."""
        await trio.to_thread.run_sync(partial(self._stack.run, "stop", name, check=False))
        await trio.sleep(self._chance.uniform(0, 2))
        await trio.to_thread.run_sync(partial(self._stack.run, "start", name, check=False))

    async def reload(self, name: str) -> None:
        """Policies are read again."""
        os.kill(await trio.to_thread.run_sync(self._stack.pid, name), signal.SIGHUP)


async def load(visitors: Visitors, seconds: float) -> None:
    """All clients for so long."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(visitors.visit_again_and_again)


async def at_rest(running: Running, usage: ResourceUsage) -> dict[str, dict[str, int]]:
    """What each process holds once nothing happens any more and idle connections have expired."""
    assert await trio.to_thread.run_sync(running.all_closed)
    await trio.sleep(CALM_SECONDS)
    found = {}
    for name in OURS:
        found[name] = await usage.of(running.stack.pid(name))
    return found


def in_flight(data: dict) -> int:
    """Calls that any of the breakers in /health holds a permit for."""
    own = [data[name] for name in ("auth", "school", "student")]
    deeper = [dependency for one in own for dependency in one["dependencies"].values()]
    return sum(one["circuit_breaker"]["in_flight"] for one in (*own, *deeper))


async def watch_memory(pid: int, usage: ResourceUsage, into: list[int]) -> None:
    """A process's, forty times in the soak."""
    while True:
        await trio.sleep(SECONDS / 40)
        into.append((await usage.of(pid))["memory"])


async def test_soak_of_the_whole_stack(soaked):
    """Nothing stays behind, in the gateway nor in the services, and nothing acknowledged is lost."""
    running, usage = soaked
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    chance = random.Random(seed)
    visitors, chaos, memory = Visitors(running, chance), Chaos(running.stack, chance), []
    made = running.call("POST", "/schools", registration_number="S-0", name="S-0").json()
    running.school = made["data"]["id"]
    gateway = running.stack.pid("api-gateway")

    await load(visitors, 10)
    before = await at_rest(running, usage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chaos.reign)
        nursery.start_soon(watch_memory, gateway, usage, memory)
        await load(visitors, SECONDS)
        nursery.cancel_scope.cancel()
    running.stack.run("up")
    assert await trio.to_thread.run_sync(running.all_closed)
    await load(visitors, 10)
    after = await at_rest(running, usage)

    told = f"seed {seed}: {dict(chaos.done)}, {dict(visitors.ended)}, {dict(visitors.statuses)}"
    found = f"{told}\nbefore {before}\nafter {after}\nmemory {memory}"
    print(found)  # noqa: T201 - shown by pytest -s, and where the test fails
    assert running.stack.pid("api-gateway") == gateway, "the gateway lived through it"
    assert in_flight(running.stack.health()[1]) == 0
    for name in OURS:
        more = 0 if name == "api-gateway" else FEW
        for kind in ("tasks", "asyncio", "files"):
            assert after[name][kind] <= before[name][kind] + more, (name, kind)
    warm = memory[len(memory) // 4 :]
    third = len(warm) // 3
    assert statistics.median(warm[-third:]) - statistics.median(warm[:third]) < MOST_GROWTH
    assert set(visitors.acknowledged) <= set(registration_numbers(running))
    assert visitors.acknowledged
    assert all(visitors.ended[how] > SECONDS / 10 for how in ("stayed", "left"))
    assert sum(chaos.done.values()) > SECONDS / 15
    for name in OURS:
        for line in running.stack.log(name).splitlines():
            if "Traceback" in line:
                pytest.fail(f"{name}: {line}")
