"""One instance as a process: it calls the test's upstream through a shared breaker, and reports on stdout.

`python -m tests.actors.sharing.process.instance URL PORT NAME`. Each line is a JSON object with `at`, seconds
on the monotonic clock, which all processes of a machine share, and `kind`: "ready", "transition", "error" for
an exception that a call mustn't raise, or "status", four times a second. SIGTERM ends it.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import time

import trio

from actors import (
    CallRejected,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    State,
    Transition,
    open_panel,
)
from actors.adapters.valkey import share_breakers
from actors.sharing.link import SharingPolicy
from actors.sharing.shared_breakers import SharedBreakers

NAME = "upstream"
LEASE = 2.0
RESET = 1.0
CALL_TIMEOUT = 1.5
RATE = 10.0
PR_SET_PDEATHSIG = 1


class Down(Exception):
    """The upstream has failed."""


def report(kind: str, **values: object) -> None:
    """Write one line."""
    print(json.dumps({"kind": kind, "at": time.monotonic(), **values}), flush=True)  # noqa: T201


class Caller:
    """Calls the upstream RATE times a second, whether or not earlier calls have ended, and counts."""

    def __init__(self, breaker: CircuitBreaker, sharing: SharedBreakers, port: int, name: str) -> None:
        self.breaker = breaker
        self.sharing = sharing
        self.port = port
        self.name = name
        self.counts = {"ok": 0, "failed": 0, "rejected": 0}
        self.lag = 0.0

    async def run(self, nursery: trio.Nursery) -> None:
        due = trio.current_time()
        while True:
            due = max(due + 1 / RATE, trio.current_time())
            await trio.sleep_until(due)
            self.lag = max(self.lag, trio.current_time() - due)
            nursery.start_soon(self.call)

    async def call(self) -> None:
        try:
            await self.breaker.execute(self._ask)
        except CallRejected:
            self.counts["rejected"] += 1
        except (Down, CallTimeout, OSError, trio.BrokenResourceError):
            self.counts["failed"] += 1
        except Exception as error:  # noqa: BLE001 - the test says which it didn't expect
            report("error", error=repr(error))
        else:
            self.counts["ok"] += 1

    async def _ask(self) -> None:
        probes = self.breaker.state is State.HALF_OPEN
        lease = self.sharing.shared_generation(NAME) if probes and self.sharing.has_lease(NAME) else 0
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(json.dumps({"instance": self.name, "lease": lease}).encode() + b"\n")
            if await stream.receive_some(16) != b"ok":
                raise Down

    async def report_status(self) -> None:
        while True:
            await trio.sleep(0.25)
            lag, self.lag = self.lag, 0.0
            connected = self.sharing.status().connected
            generation = self.sharing.shared_generation(NAME)
            state = self.breaker.state.name
            values = {"state": state, "connected": connected, "generation": generation, "lag": lag}
            report("status", **values, **self.counts)


async def follow(breaker: CircuitBreaker, task_status: trio.TaskStatus[None]) -> None:
    async with breaker.events() as events:
        task_status.started()
        async for event in events:
            if isinstance(event, Transition):
                report("transition", old=event.old.name, new=event.new.name, reason=event.reason)


async def main(url: str, port: int, name: str) -> None:
    config = CircuitBreakerConfig(name=NAME, reset_timeout=RESET, call_timeout=CALL_TIMEOUT)
    policy = SharingPolicy(lease=LEASE)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            open_panel() as panel,
            share_breakers(panel, url, policy=policy, instance=name) as sharing,
            trio.open_nursery() as nursery,
        ):
            breaker = panel.breaker(config)
            await nursery.start(follow, breaker)
            caller = Caller(breaker, sharing, port, name)
            nursery.start_soon(caller.run, nursery)
            nursery.start_soon(caller.report_status)
            report("ready")
            async for _ in signals:
                report("ending")
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    # A test run that is killed can't end it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _, server_url, upstream_port, instance_name = sys.argv
    trio.run(main, server_url, int(upstream_port), instance_name)
    report("ended")
