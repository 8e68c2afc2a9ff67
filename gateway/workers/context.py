"""What the supervisor gives to a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from socket import socket

import trio

from runtime.serving import stop_signal


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One worker's place among those of its gateway.

    gateway: the name of the workers together; no other gateway has ever had it, so that a restart counts from
    zero. address: host and port that they all serve. slot: this worker's number, which its successors take
    over. lifeline: readable once the supervisor has ended. operations_listener: that of OPERATIONS_PORT; None
    if there is none.
    """

    gateway: str
    address: str
    slot: int
    listener: socket
    lifeline: int
    operations_listener: socket | None = None

    async def stop_requested(self) -> None:
        """Return when this worker receives a stop signal, or when the supervisor has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait, stop_signal, nursery.cancel_scope)
            nursery.start_soon(self._wait, self._supervisor_ended, nursery.cancel_scope)

    async def _wait(self, event: Callable[[], Awaitable[None]], others: trio.CancelScope) -> None:
        await event()
        others.cancel()

    async def _supervisor_ended(self) -> None:
        await trio.lowlevel.wait_readable(self.lifeline)
