"""Measure the gateway's throughput and latency, beside a FastAPI gateway, nginx, and bare servers.

`python -m benchmarks.gateway` prints each goal with the value reached. `--write` also writes the table and
its picture to docs/reference/speed. Everything runs on the loopback of this machine; every round measures
every subject once. BEFORE=PATH adds the gateway of another checkout. Absolute figures depend on the machine:
compare only ratios of one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from actors import DURATION_BUCKETS, CircuitBreakerConfig, open_panel
from benchmarks.gateway.report import (
    BEFORE,
    FASTAPI,
    FASTAPI_100,
    FLOOR,
    HYPERCORN,
    NGINX,
    OURS,
    SERVER,
    TWO,
    Result,
    report,
)
from benchmarks.gateway.subjects import (
    Start,
    Subject,
    before,
    cpu_seconds,
    fastapi,
    hypercorn,
    nginx,
    ours,
    running,
    server,
    thinnest_proxy,
    upstream,
    valkey,
)
from benchmarks.gateway.wrk import Round, hit

CONNECTIONS = (1, 16, 64, 256)
SETTLE_SECONDS = 10
SUBJECTS: dict[str, Start] = {
    FASTAPI: fastapi,
    FASTAPI_100: partial(fastapi, connections=100),
    OURS: ours,
    TWO: partial(ours, workers=2),
    NGINX: nginx,
    FLOOR: thinnest_proxy,
    SERVER: server,
    HYPERCORN: hypercorn,
    BEFORE: before,
}


def settle(subject: Subject) -> None:
    """Wait until a subject is idle, at most SETTLE_SECONDS: its unfinished work would slow the next."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before, now = 0.0, cpu_seconds(subject.pid)
    while now - before > 0.01 and time.monotonic() < deadline:
        time.sleep(0.2)
        before, now = now, cpu_seconds(subject.pid)


def summary(rounds: Sequence[Round]) -> Round:
    """The medians of one subject's rounds at one number of connections. Errors and time-outs are sums."""
    return Round(
        rate=statistics.median(one.rate for one in rounds),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        errors=sum(one.errors for one in rounds),
        timeouts=sum(one.timeouts for one in rounds),
        cpu=statistics.median(one.cpu for one in rounds),
    )


def compare(
    names: Sequence[str], connections: Sequence[int], rounds: int, seconds: int
) -> dict[str, dict[int, Round]]:
    """Measure every subject at every number of connections, interleaved. Ends the processes it starts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        if TWO in names:
            stack.enter_context(valkey(folder))
        service = stack.enter_context(running("upstream", upstream, folder))
        port = int(service.url.split(":")[2].split("/")[0])
        subjects = [stack.enter_context(running(name, SUBJECTS[name], folder, port)) for name in names]
        for subject in subjects:
            hit(subject, 16, 1)
        seen: dict[str, dict[int, list[Round]]] = {name: {n: [] for n in connections} for name in names}
        for _ in range(rounds):
            for count in connections:
                for subject in subjects:
                    seen[subject.name][count].append(hit(subject, count, seconds))
                    settle(subject)
    return {name: {n: summary(found) for n, found in cells.items()} for name, cells in seen.items()}


async def breaker_seconds(calls: int = 20_000, rounds: int = 9) -> float:
    """Seconds of processor time of one guarded call that does nothing, with durations as in the gateway."""
    async with open_panel(durations=DURATION_BUCKETS) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="auth-service-http"))
        times = []
        for _ in range(rounds):
            start = time.process_time()
            for _ in range(calls):
                async with breaker.guard():
                    pass
            times.append((time.process_time() - start) / calls)
            await trio.lowlevel.checkpoint()
        return statistics.median(times)


def main() -> None:
    """Measure and print; with --write, also write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="seconds per round and subject")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    usual = [name for name in SUBJECTS if name != BEFORE or "BEFORE" in os.environ]
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=usual, help="measure these alone")
    parser.add_argument("--write", action="store_true", help="also write the report to docs/reference/speed")
    arguments = parser.parse_args()
    cells = compare(arguments.only, arguments.connections, arguments.rounds, arguments.seconds)
    breaker = trio.run(breaker_seconds)
    report(Result(cells, breaker, arguments.rounds, arguments.seconds), write=arguments.write)


if __name__ == "__main__":
    main()
