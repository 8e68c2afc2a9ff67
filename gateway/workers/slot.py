"""A worker's slot, which its successors take over, and the context that the supervisor gives to a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import trio

from gateway.workers.policy_file import POLICY_FILE
from runtime.serving import stop_signal


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """One worker's number and files. folder: shared by all workers of one gateway, and only by them."""

    number: int
    folder: Path

    @property
    def counts(self) -> Path:
        """The file with this slot's snapshots."""
        return self.folder / f"{self.number}.counts"

    @property
    def overloads(self) -> Path:
        """The file that counts this slot's requests answered GATEWAY_OVERLOADED."""
        return self.folder / f"{self.number}.overloads"

    @property
    def socket(self) -> Path:
        """The socket on which this slot's worker receives notifications."""
        return self.folder / f"{self.number}.sock"

    @property
    def policies(self) -> Path:
        """The last valid breakers.toml."""
        return self.folder / POLICY_FILE

    @property
    def commands(self) -> Path:
        """The file of the operators' commands for all workers."""
        return self.folder / "commands"

    @property
    def counters(self) -> Path:
        """The file in which all workers count for the rate limits."""
        return self.folder / "rates"

    def all(self) -> list[WorkerSlot]:
        """Every slot in which a worker has ever run."""
        return [WorkerSlot(int(path.stem), self.folder) for path in self.folder.glob("*.counts")]


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the supervisor gives to a worker. lifeline: readable once the supervisor has ended.

    operations_listener: that of OPERATIONS_PORT; None if there is none.
    """

    slot: WorkerSlot
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
