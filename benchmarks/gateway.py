"""What the gateway costs: beside the one a Python user would write, nginx, and servers by themselves.

`python -m benchmarks.gateway` prints each goal with what was reached; with `--write`, the table and its
picture go to docs/reference. Everything runs on the loopback of this machine, in rounds in which
each subject has its turn. With BEFORE=PATH the gateway of another checkout is measured beside ours. Absolute
figures are of one machine: only ratios of one run mean anything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from actors import DURATION_BUCKETS, CircuitBreakerConfig, open_panel
from benchmarks.gateway_report import (
    BEFORE,
    FASTAPI,
    FASTAPI_100,
    FLOOR,
    HYPERCORN,
    NGINX,
    OURS,
    SERVER,
    TWO,
    Cell,
    Result,
    report,
)
from benchmarks.gateway_subjects import (
    Start,
    Subject,
    before,
    cpu_seconds,
    fastapi,
    floor,
    hypercorn,
    nginx,
    ours,
    running,
    server,
    tool,
    upstream,
)

CONNECTIONS = (1, 16, 64, 256)
TIMEOUT_SECONDS = 10
SETTLE_SECONDS = 10
SUBJECTS: dict[str, Start] = {
    FASTAPI: fastapi,
    FASTAPI_100: partial(fastapi, connections=100),
    OURS: ours,
    TWO: partial(ours, workers=2),
    NGINX: nginx,
    FLOOR: floor,
    SERVER: server,
    HYPERCORN: hypercorn,
    BEFORE: before,
}


@dataclass(frozen=True)
class Round:
    """What wrk saw of one subject. Times are milliseconds, `cpu` microseconds a request."""

    rate: float
    p50: float
    p99: float
    errors: int
    timeouts: int
    cpu: float


def hit(subject: Subject, connections: int, seconds: int) -> Round:
    """One round of wrk, on one thread; never longer than twice its time and wrk's own time-out."""
    words = [tool("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s"]
    script = Path(__file__).with_name("wrk.lua")
    before = cpu_seconds(subject.pid)
    done = subprocess.run(
        [*words, "-s", str(script), subject.url],
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * seconds + TIMEOUT_SECONDS,
    )
    cpu = cpu_seconds(subject.pid) - before
    seen = json.loads(done.stdout.splitlines()[-1])
    return Round(
        rate=seen["requests"] / seen["microseconds"] * 1e6,
        p50=seen["p50"] / 1000,
        p99=seen["p99"] / 1000,
        errors=seen["status"] + seen["socket"],
        timeouts=seen["timeout"],
        cpu=cpu / max(1, seen["requests"]) * 1e6,
    )


def settle(subject: Subject) -> None:
    """Wait until a subject has done what wrk left it, SETTLE_SECONDS at most: it would burden the next."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before, now = 0.0, cpu_seconds(subject.pid)
    while now - before > 0.01 and time.monotonic() < deadline:
        time.sleep(0.2)
        before, now = now, cpu_seconds(subject.pid)


def summary(rounds: Sequence[Round]) -> Cell:
    """The medians of one subject at one number of connections; errors and time-outs are of all rounds."""
    return Cell(
        rate=statistics.median(one.rate for one in rounds),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        errors=sum(one.errors for one in rounds),
        timeouts=sum(one.timeouts for one in rounds),
        cpu=statistics.median(one.cpu for one in rounds),
    )


def compare(
    names: Sequence[str], connections: Sequence[int], rounds: int, seconds: int
) -> dict[str, dict[int, Cell]]:
    """Every subject at every number of connections, interleaved; every process has ended afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
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
    """Processor time of one guarded call that does nothing, as the gateway guards: with durations."""
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
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one round of one subject")
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    usual = [name for name in SUBJECTS if name != BEFORE or "BEFORE" in os.environ]
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=usual, help="which subjects")
    parser.add_argument("--write", action="store_true", help="write table and picture to docs/reference")
    arguments = parser.parse_args()
    cells = compare(arguments.only, arguments.connections, arguments.rounds, arguments.seconds)
    breaker = trio.run(breaker_seconds)
    report(Result(cells, breaker, arguments.rounds, arguments.seconds), write=arguments.write)


if __name__ == "__main__":
    main()
