"""purgatory under the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from typing import Any
from unittest import mock

import purgatory
import purgatory.domain.model

from benchmarks.conformance_peers.peer import AnswerError, HandDriven, IgnoredError, limit_of_consecutive


class Purgatory(HandDriven):
    """threshold and ttl; exclude for ignored errors and for answers."""

    name = "purgatory"
    rejections = purgatory.domain.model.OpenedState

    def __init__(self, policy: Mapping[str, Any], patches: ExitStack) -> None:
        super().__init__(policy, patches)
        clock = mock.Mock(time=lambda: self.now)
        patches.enter_context(mock.patch.object(purgatory.domain.model, "time", clock))
        self._factory = purgatory.AsyncCircuitBreakerFactory(
            default_threshold=limit_of_consecutive(policy["trip"]),
            default_ttl=policy["reset_timeout"],
            exclude=[IgnoredError, AnswerError],
        )

    async def call(self, fn: Callable[[], Coroutine[Any, Any, object]]) -> object:
        return await self._factory("subject")(fn)()

    async def read(self, what: str) -> Any:
        context = (await self._factory.get_breaker("subject")).context
        if what == "state":
            return {"opened": "open", "half-opened": "half_open"}.get(context.state, context.state)
        if what == "failures" and context.failure_count is not None:
            return context.failure_count
        return await super().read(what)
