"""Measure the cost of observing the gateway: scrapes of /metrics, open dashboards, and traces.

`python -m benchmarks.observing` prints the figures; `--write` also writes them to docs/reference/speed.
Every round has one turn per observer, each round begins with another one, and each turn is compared with a
turn of the same round without any observer. A round has two of these; their difference is the spread of this
machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from actors import DURATION_BUCKETS, CircuitBreaker, CircuitBreakerConfig, Panel, open_panel
from actors.adapters.metrics import negotiated
from actors.adapters.tracing import traced
from benchmarks.gateway.subjects import Subject, cpu_seconds, ours, running
from benchmarks.gateway.wrk import hit
from benchmarks.observing.report import NONE, NONE_AGAIN, Result, Turns, report
from benchmarks.observing.watchers import OPENMETRICS, breakers, dashboards, scraping, service
from gateway.metrics.request_metrics import RequestMetrics

SECONDS_IN_PROCESS = 1.0

Watcher = Callable[[int], AbstractContextManager[object]]
Observing = Callable[[], Awaitable[None]]

WATCHERS: dict[str, Watcher] = {
    NONE: lambda _: nullcontext(),
    NONE_AGAIN: lambda _: nullcontext(),
    "a scrape a second": scraping,
    "one dashboard": partial(dashboards, count=1),
    "ten dashboards": partial(dashboards, count=10),
    "ten dashboards that never read": partial(dashboards, count=10, reading=False),
}


class Discard(SpanExporter):
    """An exporter that drops every span."""

    def export(self, spans) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def work() -> None:
    pass


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order of turns in a round: each round begins one turn later than the one before."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


@contextmanager
def running_gateway() -> Iterator[Subject]:
    """Run a gateway, the nginx that it forwards to, and the process whose breakers it reads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="observing-bench-")))
        observed = stack.enter_context(running("breakers", breakers, folder))
        upstream = stack.enter_context(running("service", service, folder, port_of(observed.url)))
        yield stack.enter_context(running("gateway", ours, folder, port_of(upstream.url)))


def requests(gateway: Subject, rounds: int, seconds: int, connections: int) -> tuple[Turns, Turns]:
    """By observer: requests per second, and microseconds of the gateway's processor time per request."""
    hit(gateway, connections, 1)
    rates: Turns = {name: [] for name in WATCHERS}
    costs: Turns = {name: [] for name in WATCHERS}
    for number in range(rounds):
        for name in turns(list(WATCHERS), number):
            with WATCHERS[name](port_of(gateway.url)):
                seen = hit(gateway, connections, seconds)
            assert not seen.errors, name
            rates[name].append(seen.rate)
            costs[name].append(seen.cpu)
            time.sleep(0.2)
    return rates, costs


def at_rest(gateway: Subject, seconds: int) -> dict[str, float]:
    """By observer: the percentage of one core that the gateway uses without any requests."""
    found = {}
    for name, watcher in WATCHERS.items():
        with watcher(port_of(gateway.url)):
            before = cpu_seconds(gateway.pid)
            time.sleep(seconds)
            found[name] = (cpu_seconds(gateway.pid) - before) / seconds * 100
    return found


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/", maxsplit=1)[0])


async def nanoseconds(breaker: CircuitBreaker, observing: Observing) -> float:
    """Nanoseconds of processor time per call that does nothing while `observing` runs, including that."""
    calls = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(observing)
        end, begun = time.perf_counter() + SECONDS_IN_PROCESS, time.process_time()
        while time.perf_counter() < end:
            for _ in range(100):
                await breaker.execute(work)
            calls += 100
            await trio.lowlevel.checkpoint()
        spent = time.process_time() - begun
        nursery.cancel_scope.cancel()
    return spent / calls * 1e9


async def guarded_calls(rounds: int) -> tuple[Turns, float]:
    """By observer: nanoseconds per call in one process. Also the milliseconds of one scrape."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    async with open_panel(durations=DURATION_BUCKETS) as panel:
        plain, *_ = (panel.breaker(CircuitBreakerConfig(name=f"breaker-{n}")) for n in range(3))

        async def scrape() -> None:
            while True:
                negotiated((await panel.snapshots()).values(), OPENMETRICS)
                await trio.sleep(1)

        ways: dict[str, tuple[CircuitBreaker, Observing]] = {
            NONE: (plain, trio.sleep_forever),
            NONE_AGAIN: (plain, trio.sleep_forever),
            "a scrape a second": (plain, scrape),
            "traced": (traced(plain, provider.get_tracer("benchmark")), trio.sleep_forever),
        }
        found: Turns = {name: [] for name in ways}
        for number in range(rounds):
            for name in turns(list(ways), number):
                found[name].append(await nanoseconds(*ways[name]))
        return found, await one_scrape(panel)


async def one_scrape(panel: Panel, times: int = 200) -> float:
    """Milliseconds of processor time of one scrape; most of it writes the text."""
    begun = time.process_time()
    for _ in range(times):
        negotiated((await panel.snapshots()).values(), OPENMETRICS)
    return (time.process_time() - begun) / times * 1e3


def counted_request(times: int = 100_000) -> float:
    """Nanoseconds of processor time by which counting a request for `gateway_requests_total` lengthens it."""
    metrics = RequestMetrics()
    begun = time.process_time()
    for _ in range(times):
        metrics.begin("/schools", "GET").end(200)
    return (time.process_time() - begun) / times * 1e9


def main() -> None:
    """Measure and print; with --write, also write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=2, help="seconds per turn")
    parser.add_argument("--rest", type=int, default=10, help="seconds per turn without requests")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--write", action="store_true", help="also write the report to docs/reference/speed")
    arguments = parser.parse_args()
    with running_gateway() as gateway:
        rest = at_rest(gateway, arguments.rest)
        rates, costs = requests(gateway, arguments.rounds, arguments.seconds, arguments.connections)
    calls, scrape = trio.run(guarded_calls, arguments.rounds)
    counting = min(counted_request() for _ in range(5))
    load = arguments.seconds, arguments.connections
    result = Result(rest, rates, costs, calls, scrape, counting, *load)
    report(result, write=arguments.write)


if __name__ == "__main__":
    main()
