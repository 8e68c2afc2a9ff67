"""aiobreaker under the conformance suite."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import aiobreaker
import aiobreaker.circuitbreaker
import aiobreaker.state

from benchmarks.conformance_peers.peer import AnswerError, HandDriven, IgnoredError, limit_of_consecutive


class Aiobreaker(HandDriven):
    """fail_max, timeout_duration, open() and close(); exclude for ignored errors and for answers."""

    name = "aiobreaker"
    rejections = aiobreaker.state.CircuitBreakerError

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        super().__init__(policy, patches)
        peer = self

        class Clock(dt.datetime):
            @classmethod
            def now(cls, _tz: object = None) -> Any:
                return dt.datetime.fromtimestamp(peer.now, dt.UTC).replace(tzinfo=None)

            utcnow = now

        for module in (aiobreaker.state, aiobreaker.circuitbreaker):
            patches.enter_context(mock.patch.object(module, "datetime", Clock))
        self._breaker = aiobreaker.CircuitBreaker(
            fail_max=limit_of_consecutive(policy["trip"]),
            timeout_duration=dt.timedelta(seconds=policy["reset_timeout"]),
            exclude=[IgnoredError, AnswerError],
        )

    def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> Coroutine[Any, Any, object]:
        return self._breaker.call_async(fn)  # type: ignore[return-value]

    def wait(self, error: BaseException) -> float | None:
        assert isinstance(error, self.rejections)
        return error.time_remaining.total_seconds()

    async def run_command(self, command: str) -> None:
        commands = {"trip": self._breaker.open, "reset": self._breaker.close}
        if command not in commands:
            await super().run_command(command)
        commands[command]()

    async def read(self, what: str) -> Any:
        if what == "state":
            return self._breaker.current_state.name.lower()
        if what == "failures":
            return self._breaker.fail_counter
        if what == "retry_after":
            is_open = self._breaker.current_state is aiobreaker.CircuitBreakerState.OPEN
            left = self._breaker.time_until_open if is_open else None
            return None if left is None else left.total_seconds()
        return await super().read(what)
