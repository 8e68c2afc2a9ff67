"""Short messages to a worker over the socket of its slot, each answered with one line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from gateway.workers.slot import WorkerSlot

REPLY_SECONDS = 0.5
"""Seconds that a worker has to carry out a notification and reply. All workers are notified concurrently."""
LINE_BYTES = 64 * 1024

Notification = Mapping[str, Any]
SAVE_SNAPSHOTS: Notification = {"do": "save"}
"""The worker is to write its file of snapshots."""
RUN_COMMANDS: Notification = {"do": "commands"}
"""There are new commands in the command log."""
RELOAD_CERTIFICATE: Notification = {"do": "certificate"}
"""The certificate's files are to be read again."""


async def notify(slots: Sequence[WorkerSlot], notification: Notification) -> dict[int, bool]:
    """Notify the workers in these slots concurrently.

    Returns, by the slot's number, whether the worker has replied within REPLY_SECONDS. A slot without a
    running worker is left out. Never raises; cancelling closes the sockets.
    """
    replied: dict[int, bool] = {}
    async with trio.open_nursery() as nursery:
        for slot in slots:
            nursery.start_soon(_notify, slot, notification, replied)
    return replied


async def _notify(slot: WorkerSlot, notification: Notification, replied: dict[int, bool]) -> None:
    with trio.move_on_after(REPLY_SECONDS):
        try:
            stream = await trio.open_unix_socket(str(slot.socket))
        except OSError:
            return  # the worker has died, and its successor hasn't started yet
        replied[slot.number] = False
        try:
            await stream.send_all(json.dumps(notification).encode() + b"\n")
            await read_line(stream)
            replied[slot.number] = True
        except (trio.BrokenResourceError, ValueError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


async def read_line(stream: trio.SocketStream) -> bytes:
    """Read one line. Raises ValueError if it is truncated or longer than LINE_BYTES."""
    data = b""
    while not data.endswith(b"\n"):
        piece = await stream.receive_some()
        if not piece or len(data) > LINE_BYTES:
            raise ValueError("not a line")
        data += piece
    return data
