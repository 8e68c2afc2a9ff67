"""What it costs calls that somebody looks: scrapes of /metrics, and traces.

`python -m benchmarks.observing` prints the CPU time of a call through a breaker. Each way of looking has its
turn in every round. A scrape a second is fifteen times as often as Prometheus is told to come.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from actors import DURATION_BUCKETS, CircuitBreaker, CircuitBreakerConfig, open_panel
from actors.adapters.metrics import negotiated
from actors.adapters.tracing import traced

ROUNDS = 9
SECONDS = 2.0
OPENMETRICS = "application/openmetrics-text"

Looking = Callable[[], Awaitable[None]]


class Discard(SpanExporter):
    def export(self, spans) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def work() -> None:
    pass


async def nanoseconds(breaker: CircuitBreaker, looking: Looking) -> float:
    """A call's, over SECONDS, while `looking` runs; what looking costs is in it."""
    calls = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looking)
        end, begun = time.perf_counter() + SECONDS, time.process_time()
        while time.perf_counter() < end:
            for _ in range(100):
                await breaker.execute(work)
            calls += 100
            await trio.lowlevel.checkpoint()
        spent = time.process_time() - begun
        nursery.cancel_scope.cancel()
    return spent / calls * 1e9


async def main() -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    async with open_panel(durations=DURATION_BUCKETS) as panel:
        breakers = [panel.breaker(CircuitBreakerConfig(name=f"breaker-{n}")) for n in range(3)]

        async def scrape() -> None:
            while True:
                negotiated((await panel.snapshots()).values(), OPENMETRICS)
                await trio.sleep(1)

        plain, watched = breakers[0], traced(breakers[0], provider.get_tracer("benchmark"))
        ways = {
            "nobody looks": (plain, trio.sleep_forever),
            "a scrape a second": (plain, scrape),
            "traced": (watched, trio.sleep_forever),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (breaker, looking) in ways.items():
                found[name].append(await nanoseconds(breaker, looking))
    for name, times in found.items():
        ratios = [one / base for one, base in zip(times, found["nobody looks"], strict=True)]
        print(f"{name:20} {statistics.median(times):9.0f} ns   {statistics.median(ratios):6.3f} times")


if __name__ == "__main__":
    trio.run(main)
