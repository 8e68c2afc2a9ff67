"""What a store of shared breakers does. The adapters have one for Valkey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from .requests import Reply, Request


class StoreUnavailable(Exception):
    """The store can't be reached, or doesn't answer in time. The message is the reason."""


class Store(Protocol):
    """Carries out requests, each in one step, in the order in which they are given for one breaker."""

    async def exchange(self, requests: Sequence[tuple[str, Request]]) -> list[Reply]:
        """Carry out requests, each for the breaker of that name. Raises StoreUnavailable within 0.5 s."""

    async def listen(
        self,
        changed: Callable[[str | None], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Call `changed` with each breaker's name whose shared state has changed, until cancelled.

        None: any may have changed while there was no listener. Never raises for a store that is gone.
        """
