"""SIGHUP: the policies of breakers.toml again, in a process that goes on serving."""

from __future__ import annotations

import signal
from pathlib import Path

import structlog
import trio

from actors import Panel
from runtime.admin import reread
from runtime.breakers import BadConfiguration

log = structlog.get_logger("runtime")


async def reload_on_hangup(
    panel: Panel,
    path: Path,
    profile: str | None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Give the panel's breakers the file's policies at each SIGHUP, for ever. Only in the main thread.

    State, windows and calls in flight stay. A file that can't be used is reported, and changes nothing.
    """
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            try:
                changed = await reread(panel, path, profile)
            except BadConfiguration as error:
                refuse(error)
            else:
                log.info("the policies are read again", changed=changed)


def refuse(error: BadConfiguration) -> None:
    """Report a file that can't be used."""
    log.error("the policies can't be used; nothing has changed", reason=str(error))
