"""interlock-cb under the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import interlock

from benchmarks.conformance_peers.peer import (
    ALWAYS,
    BadResult,
    FailedError,
    HandDriven,
    failing_or_slow,
    limit_of_consecutive,
    require_known,
)
from tests.conformance.suite import CannotExpressError

_NEVER_SLOW = {"slow_call_duration_threshold": 1e9}


class Interlock(HandDriven):
    """Config's rates over a window. n consecutive failures are a rate of 1 over the last n calls."""

    name = "interlock-cb"
    settings = ALWAYS | {
        "half_open_max_calls",
        "half_open_failure_rate",
        "successes_to_close",
        "backoff",
        "failure_result",
    }
    rejections = interlock.CircuitOpenError

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        super().__init__(policy, patches)
        probes, at_once = policy.get("successes_to_close", 1), policy.get("half_open_max_calls", 1)
        if (rate := policy.get("half_open_failure_rate")) is not None:
            probes = at_once
            if rate != _trip(policy["trip"])["failure_rate_threshold"]:
                raise CannotExpressError("no rate of failed probes apart from that of calls")
        if at_once > probes:
            raise CannotExpressError("no more probes at once than must succeed")
        backoff = policy.get("backoff", {})
        require_known("backoff.", backoff, {"factor", "maximum"})
        self._kind = policy["trip"]["kind"]
        self._breaker = interlock.CircuitBreaker(
            name="subject",
            clock=mock.Mock(monotonic=lambda: self.now),
            classifier=mock.Mock(is_failure=_is_failure),
            config=interlock.Config(
                permitted_calls_in_half_open=probes,
                max_concurrent_probes=at_once,
                wait_duration_in_open=policy["reset_timeout"],
                wait_duration_backoff_multiplier=backoff.get("factor", 1.0),
                wait_duration_in_open_max=backoff.get("maximum"),
                **_trip(policy["trip"]),
            ),
        )

    async def advance(self, to: float) -> None:
        await super().advance(to)
        # Its auto_transition does this from a thread with the real clock.
        self._breaker._engine._machine.attempt_auto_transition()  # noqa: SLF001

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        return self._breaker.call_async(fn)  # type: ignore[return-value]

    def wait(self, error: BaseException) -> float | None:
        assert isinstance(error, self.rejections)
        return error.retry_after

    async def run_command(self, command: str) -> None:
        commands = {
            "reset": self._breaker.reset,
            "force_open": self._breaker.force_open,
            "disable": self._breaker.disable,
            "observe": self._breaker.metrics_only,
        }
        if command not in commands:
            await super().run_command(command)
        commands[command]()

    async def read(self, what: str) -> Any:
        if what == "state":
            return {"metrics_only": "observing"}.get(self._breaker.state.value, self._breaker.state.value)
        if what == "failures" and self._kind in ("failure_rate", "slow_rate"):
            snapshot = self._breaker.snapshot()
            return snapshot.slow_calls if self._kind == "slow_rate" else snapshot.failed_calls
        return await super().read(what)


def _is_failure(*, result: object, exception: Exception | None) -> bool:
    return isinstance(result, BadResult) or isinstance(exception, FailedError)


def _trip(trip: Mapping[str, Any]) -> dict[str, Any]:
    if trip["kind"] == "any":
        failing, slow = failing_or_slow(trip)
        return _trip(failing) | _trip(slow) | {"failure_rate_threshold": failing["rate"]}
    if trip["kind"] == "failure_rate":
        return {**_window(trip, {"rate"}), "failure_rate_threshold": trip["rate"], **_NEVER_SLOW}
    if trip["kind"] == "slow_rate":
        return {
            **_window(trip, {"rate", "threshold"}),
            "failure_rate_threshold": 1.0,
            "slow_call_rate_threshold": trip["rate"],
            "slow_call_duration_threshold": trip["threshold"],
        }
    limit = limit_of_consecutive(trip)
    return {
        "failure_rate_threshold": 1.0,
        "window_size": limit,
        "minimum_number_of_calls": limit,
        **_NEVER_SLOW,
    }


def _window(trip: Mapping[str, Any], other: set[str]) -> dict[str, Any]:
    size = "seconds" if "seconds" in trip else "calls"
    require_known("trip.", trip, {"kind", "minimum", size} | other)
    types = {"seconds": interlock.WindowType.TIME_BASED, "calls": interlock.WindowType.COUNT_BASED}
    return {
        "window_type": types[size],
        "window_size": trip[size],
        "minimum_number_of_calls": trip["minimum"],
    }
