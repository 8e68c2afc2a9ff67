"""nopanic under the conformance suite, on trio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nopanic
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from benchmarks.conformance_peers.peer import (
    ALWAYS,
    OUTCOMES,
    FailedError,
    IgnoredError,
    Peer,
    PeerRefusal,
    failing_or_slow,
    finish,
    limit_of_consecutive,
    require_known,
)
from tests.conformance.suite import CannotExpressError, Case, play


class _Call:
    """A call that runs until the test sets its outcome. resume: set after `outcome` or `inner`."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.resume = trio.Event()
        self.outcome = ""
        self.inner: str | None = None


class Nopanic(Peer):
    """circuit_breaker, composed with its bulkhead and its timeout if the policy has them.

    Its breaker takes a clock, its timeout and bulkhead use trio's: one MockClock drives all three.
    """

    name = "nopanic"
    settings = ALWAYS | {
        "half_open_max_calls",
        "successes_to_close",
        "call_timeout",
        "max_concurrent",
        "max_queue",
        "queue_timeout",
    }

    def __init__(self, policy: Mapping[str, Any], clock: MockClock, nursery: trio.Nursery) -> None:
        super().__init__(policy)
        at_once = policy.get("half_open_max_calls", 1)
        if policy.get("successes_to_close", 1) != at_once:
            raise CannotExpressError("no number of successes apart from that of probes at once")
        self._clock = clock
        self._nursery = nursery
        self._calls: dict[str, _Call] = {}
        self._kind = policy["trip"]["kind"]
        self._breaker = nopanic.circuit_breaker(
            reset_timeout=policy["reset_timeout"],
            half_open_max_calls=at_once,
            on=(FailedError, TimeoutError),
            clock=trio.current_time,
            **_trip(policy["trip"]),
        )
        within = [nopanic.timeout(policy["call_timeout"])] if "call_timeout" in policy else []
        self._guarded = nopanic.compose(*_bulkheads(policy), self._breaker, *within)(self._work)

    @classmethod
    def play(cls, case: Case) -> None:
        clock = MockClock()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                await play(case, cls(case.policy, clock, nursery))
                nursery.cancel_scope.cancel()

        trio.run(main, clock=clock)

    def reason(self, error: BaseException) -> str:
        if isinstance(error, nopanic.BulkheadFull):
            return "bulkhead"
        # Documented: 0 when it is half-open and all probe slots are taken.
        if isinstance(error, nopanic.CircuitOpen) and error.retry_after == 0:
            return "probing"
        raise CannotExpressError("open and forced open are one rejection")

    def wait(self, error: BaseException) -> float | None:
        if isinstance(error, nopanic.BulkheadFull):
            raise CannotExpressError("no wait in its BulkheadFull")
        # 0 means that no wait is known; its own retry skips a 0, too.
        return error.retry_after or None if isinstance(error, nopanic.CircuitOpen) else None

    async def advance(self, to: float) -> None:
        self._clock.jump(to - trio.current_time())
        await wait_all_tasks_blocked()

    async def begin(self, call: str) -> None:
        self._seen[call] = "waiting"
        self._calls[call] = _Call()
        self._nursery.start_soon(self._caller, call)
        await wait_all_tasks_blocked()

    async def begin_inside(self, call: str, outer: str) -> None:
        self._seen[call] = "waiting"
        self._calls[call] = _Call()
        self._calls[outer].inner = call
        self._calls[outer].resume.set()
        await wait_all_tasks_blocked()

    async def end_as(self, call: str, outcome: str) -> None:
        # It records no exception that `on` doesn't select, so that none can count as a success.
        require_known("outcome ", [outcome], set(OUTCOMES) - {"answer_error"})
        ending = self._calls[call]
        if outcome == "cancelled":
            ending.scope.cancel()
        else:
            ending.outcome = outcome
            ending.resume.set()
        await wait_all_tasks_blocked()

    async def run_command(self, command: str) -> None:
        commands = {
            "reset": self._breaker.reset,
            "force_open": self._breaker.force_open,
            "disable": self._breaker.disable,
        }
        if command not in commands:
            await super().run_command(command)
        commands[command]()

    async def read(self, what: str) -> Any:
        if what == "state":
            return self._breaker.state
        if what == "failures" and self._kind == "failure_rate":
            return self._breaker.metrics.failures
        if what == "failures" and self._kind == "slow_rate":
            return self._breaker.metrics.slow_calls
        return await super().read(what)

    async def _caller(self, call: str) -> None:
        with self._calls[call].scope as scope:
            try:
                await self._guarded(call)
                self._seen[call] = "succeeded"
            except (FailedError, IgnoredError):
                self._seen[call] = "failed"
            except TimeoutError:
                self._seen[call] = "timed_out"
            except (nopanic.CircuitOpen, nopanic.BulkheadFull) as error:
                self._refusals[call] = PeerRefusal(self, error)
                self._seen[call] = "rejected"
        if scope.cancelled_caught:
            self._seen[call] = "cancelled"

    async def _work(self, call: str) -> object:
        self._seen[call] = "running"
        mine = self._calls[call]
        await mine.resume.wait()
        while mine.inner is not None:
            inner, mine.inner, mine.resume = mine.inner, None, trio.Event()
            await self._caller(inner)
            await mine.resume.wait()
        return finish(mine.outcome)


def _trip(trip: Mapping[str, Any]) -> dict[str, Any]:
    if trip["kind"] == "any":
        failing, slow = failing_or_slow(trip)
        return _trip(slow) | _trip(failing)
    if trip["kind"] == "failure_rate":
        return {**_window(trip, {"rate"}), "failure_threshold": trip["rate"]}
    if trip["kind"] == "slow_rate":
        # It always judges a failure rate as well; 1 is the highest possible.
        return {
            **_window(trip, {"rate", "threshold"}),
            "failure_threshold": 1.0,
            "slow_call_threshold": trip["rate"],
            "slow_call_duration": trip["threshold"],
        }
    if limit_of_consecutive(trip) > 1:
        raise CannotExpressError("no trip strategy consecutive beyond the first failure")
    # Any failure reaches this rate, so that a single one trips the breaker.
    return {"failure_threshold": 1e-9, "min_calls": 1}


def _window(trip: Mapping[str, Any], other: set[str]) -> dict[str, Any]:
    require_known("trip.", trip, {"kind", "minimum", "seconds"} | other)
    return {"window": trip["seconds"], "min_calls": trip["minimum"]}


def _bulkheads(policy: Mapping[str, Any]) -> list[nopanic.bulkhead]:
    """One for the running calls; with a queue, another around it for running and waiting calls together.

    They are outside the breaker, so that the breaker admits or rejects a call when its wait is over.
    """
    if "max_concurrent" not in policy:
        return []
    places, waiting = policy["max_concurrent"], policy.get("max_queue", 0)
    if not waiting:
        return [nopanic.bulkhead(places, max_wait=0)]
    return [
        nopanic.bulkhead(places + waiting, max_wait=0),
        nopanic.bulkhead(places, max_wait=policy.get("queue_timeout")),
    ]
