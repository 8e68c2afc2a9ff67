"""One round of wrk on one server."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.subjects import Subject, cpu_seconds, tool

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Round:
    """wrk's figures of a subject at one load. rate: requests per second. p50, p99: ms. cpu: µs a request."""

    rate: float
    p50: float
    p99: float
    errors: int
    timeouts: int
    cpu: float


def hit(subject: Subject, connections: int, seconds: int) -> Round:
    """Run wrk on one thread for `seconds`. Raises TimeoutExpired after 2 * seconds + TIMEOUT_SECONDS."""
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
