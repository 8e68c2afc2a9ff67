"""Workers of one gateway in this process, each with a panel and a connection of its own to a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socket import socket

import trio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, open_panel
from actors.sharing.link import SharingPolicy
from gateway.settings import GatewaySettings
from gateway.workers.cluster import WorkerCluster
from gateway.workers.context import WorkerContext
from runtime.sharing.instances import Place
from runtime.sharing.process import ProcessSharing, open_sharing
from tests.valkey import ValkeyServer

SERVICE = "auth-service-http"
BOUNDS = (0.1, 1.0)


@dataclass
class Worker:
    """One worker's view of all workers, its own breaker, and its sharing."""

    cluster: WorkerCluster
    breaker: CircuitBreaker
    panel: Panel
    sharing: ProcessSharing

    async def succeed(self, times: int) -> None:
        for _ in range(times):
            await self.breaker.execute(nothing)

    async def successes(self) -> int:
        """The number of successes of all workers that this worker shows."""
        return (await self.cluster.snapshots())[SERVICE].counts["success"]


async def nothing() -> None:
    """A call that succeeds."""


@asynccontextmanager
async def worker(
    valkey: ValkeyServer, slot: int, gateway: str = "gateway-1", *, connected: bool = True
) -> AsyncIterator[Worker]:
    """A worker. It ends suddenly: counts that it hasn't written are lost."""
    settings = GatewaySettings(valkey_url=valkey.url)  # type: ignore[arg-type]
    place = Place("api-gateway", f"127.0.0.1:{8000 + len(gateway)}", gateway)
    clusters: list[WorkerCluster] = []
    async with open_panel(durations=BOUNDS) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name=SERVICE, max_failures=1))

        def prepare(sharing: ProcessSharing) -> None:
            with socket() as unused:
                context = WorkerContext(gateway, place.address, slot, unused, 0)
            clusters.append(WorkerCluster(panel, context, sharing))

        # A quorum that is never reached: each worker's breaker opens by itself alone.
        policy = SharingPolicy(quorum=100)
        async with open_sharing(place, panel, settings, policy, prepare) as sharing:
            assert sharing is not None
            async with trio.open_nursery() as nursery:
                await nursery.start(clusters[0].run)
                if connected:
                    await until(lambda: sharing.status().connected)
                yield Worker(clusters[0], breaker, panel, sharing)
                nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until the condition holds."""
    with trio.fail_after(seconds):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await trio.sleep(0.01)
