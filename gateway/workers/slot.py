"""Where the workers of one gateway sit, and how one is told something over the socket of its seat."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import trio

from gateway.workers.policy_file import POLICIES
from runtime.serving import stop_signal

ASK_SECONDS = 0.5
"""How long the others have to write their file, or to follow an order; they are asked side by side."""
LINE_BYTES = 64 * 1024
LOOK: Mapping[str, Any] = {"do": "look"}
FOLLOW: Mapping[str, Any] = {"do": "follow"}
"""There is something new among the orders."""
CERTIFICATE: Mapping[str, Any] = {"do": "certificate"}
"""The files of the certificate are to be read again."""


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """A worker's place: successors take the same. folder: what all workers of one gateway share."""

    number: int
    folder: Path

    @property
    def counts(self) -> Path:
        """The file of this seat's snapshots."""
        return self.folder / f"{self.number}.counts"

    @property
    def overloads(self) -> Path:
        """The file of how often this seat's worker lacked something."""
        return self.folder / f"{self.number}.overloads"

    @property
    def socket(self) -> Path:
        """Where this seat's worker is asked."""
        return self.folder / f"{self.number}.sock"

    @property
    def policies(self) -> Path:
        """The last breakers.toml that could be used."""
        return self.folder / POLICIES

    @property
    def orders(self) -> Path:
        """The file of what operators have ordered of all workers."""
        return self.folder / "orders"

    @property
    def counters(self) -> Path:
        """The file in which all workers count for the rate limits."""
        return self.folder / "rates"

    def all(self) -> list[WorkerSlot]:
        """Every seat that was ever taken."""
        return [WorkerSlot(int(path.stem), self.folder) for path in self.folder.glob("*.counts")]


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker gets of its parent. lifeline: readable when the parent has gone."""

    seat: WorkerSlot
    listener: socket
    lifeline: int

    async def told_to_stop(self) -> None:
        """Return when this worker gets a signal to stop, or has lost its parent."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait, stop_signal, nursery.cancel_scope)
            nursery.start_soon(self._wait, self._orphaned, nursery.cancel_scope)

    async def _wait(self, what: Callable[[], Awaitable[None]], others: trio.CancelScope) -> None:
        await what()
        others.cancel()

    async def _orphaned(self) -> None:
        await trio.lowlevel.wait_readable(self.lifeline)


async def tell(seats: Sequence[WorkerSlot], notification: Mapping[str, Any]) -> dict[int, bool]:
    """Tell the workers in these seats, side by side.

    Of each that lives, by seat, whether it has answered in time. Never raises.
    """
    answered: dict[int, bool] = {}
    async with trio.open_nursery() as nursery:
        for seat in seats:
            nursery.start_soon(_tell, seat, notification, answered)
    return answered


async def _tell(seat: WorkerSlot, notification: Mapping[str, Any], answered: dict[int, bool]) -> None:
    with trio.move_on_after(ASK_SECONDS):
        try:
            stream = await trio.open_unix_socket(str(seat.socket))
        except OSError:
            return  # it has died, and has no successor yet
        answered[seat.number] = False
        try:
            await stream.send_all(json.dumps(notification).encode() + b"\n")
            await read_line(stream)
            answered[seat.number] = True
        except (trio.BrokenResourceError, ValueError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


async def read_line(stream: trio.SocketStream) -> bytes:
    """One line. Raises ValueError where it's cut, or too long."""
    data = b""
    while not data.endswith(b"\n"):
        piece = await stream.receive_some()
        if not piece or len(data) > LINE_BYTES:
            raise ValueError("not a line")
        data += piece
    return data
