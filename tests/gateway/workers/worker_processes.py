"""A gateway of several workers in front of an upstream: real processes, on free ports."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import trio

from tests.gateway.load_clients import pong, until
from tests.valkey import running_valkey

ROOT = Path(__file__).parents[3]
ADMIN = {"Authorization": "Bearer secret-of-the-operators-0123456789"}
SERVICE = "auth-service-http"


def children(pid: int) -> list[int]:
    """The living workers of a parent."""
    # Each child is listed with the thread that started it.
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for thread in threads for one in thread.read_text().split()]


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


class Gateway:
    """A gateway of real processes."""

    def __init__(self, process: trio.Process, port: int, policies: Path, workers: int) -> None:
        self.process = process
        self.port = port
        self.policies = policies
        self.workers = workers

    async def ask(self, path: str, method: str = "GET", **more: object) -> httpx.Response:
        """One request on a connection of its own; any worker may accept it."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=ADMIN) as client:
            return await client.request(method, path, **more)

    async def all_workers(self, looks_right: Callable[[dict], bool], seconds: float = 10) -> None:
        """Wait until each worker's view of a breaker looks right: twelve connections in a row agree."""
        with trio.fail_after(seconds):
            right = 0
            while right < 12:
                view = (await self.ask(f"/admin/breakers/{SERVICE}")).json()["data"]
                right = right + 1 if looks_right(view) else 0

    async def metric(self, name: str, labels: str = f'service="{SERVICE}"') -> float:
        """One sample of /metrics."""
        text = (await self.ask("/metrics")).text
        found = re.search(rf"^{name}{{{labels}}} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])

    async def staffed(self) -> list[int]:
        """Wait until every slot has a worker that accepts; their process ids."""
        await until(lambda: len(self.listening()) == self.workers)
        return self.listening()

    def listening(self) -> list[int]:
        """The living workers that have logged that they listen."""
        if self.workers == 1:
            return [self.process.pid] if "listening" in self.log() else []
        started = {}
        for slot, pid in re.findall(
            r'"worker": (\d+), "pid": (\d+), "event": "a worker has started"', self.log()
        ):
            started.setdefault(slot, []).append(int(pid))
        heard = re.findall(r'"event": "listening", "worker": (\d+)', self.log())
        counted = {slot: heard.count(slot) for slot in started}
        alive = children(self.process.pid)
        return [
            pids[-1] for slot, pids in started.items() if counted[slot] == len(pids) and pids[-1] in alive
        ]

    def log(self) -> str:
        """The log of all its processes."""
        return self.policies.with_name("log").read_text()


@asynccontextmanager
async def gateway(folder: Path, workers: int, rate: int = 10**8, **settings: str) -> AsyncIterator[Gateway]:
    """A gateway in front of an upstream of this test's own; no process of it is left behind.

    Several workers share a Valkey of this test's own.
    """
    with ExitStack() as servers:
        if workers > 1:
            settings.setdefault("VALKEY_URL", servers.enter_context(running_valkey()).url)
        async with _gateway(folder, workers, rate, settings) as found:
            yield found


@asynccontextmanager
async def _gateway(folder: Path, workers: int, rate: int, settings: dict[str, str]) -> AsyncIterator[Gateway]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, pong, 0, host="127.0.0.1"))
        upstream = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        policies = folder / "breakers.toml"
        policies.write_text(f"[breakers.{SERVICE}]\nmax_failures = 5\n")
        environment = {
            **os.environ,
            "GATEWAY_PORT": str(port),
            "GATEWAY_WORKERS": str(workers),
            "RATE_LIMIT_PER_MINUTE": str(rate),
            "ADMIN_TOKEN": "secret-of-the-operators-0123456789",
            "CIRCUIT_BREAKERS": str(policies),
            "TMPDIR": str(folder),
            **{f"{name}_SERVICE_URL": upstream for name in ("AUTH", "SCHOOL", "STUDENT")},
            **settings,
        }
        with (folder / "log").open("wb") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        found = Gateway(process, port, policies, workers)
        try:
            await found.staffed()
            yield found
        finally:
            await end(process)
            nursery.cancel_scope.cancel()


async def end(process: trio.Process) -> None:
    """End a gateway and its workers in any state."""
    with trio.CancelScope(shield=True):
        left = children(process.pid) if process.poll() is None else []
        if process.poll() is None:
            process.terminate()
            with trio.move_on_after(15):
                await process.wait()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if process.poll() is None:
            process.kill()
        await process.wait()
