"""SIGHUP: the policies of breakers.toml again, in a process that goes on serving."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import trio

from actors import Panel
from runtime.admin.api import reload_policies
from runtime.config.breakers import BadConfiguration

_held: list[int] = []
"""The signals that came too early."""

log = structlog.get_logger("runtime")


def defer_sighup() -> None:
    """Keep each SIGHUP that arrives while the process starts, until `sighup_events` takes it."""
    signal.signal(signal.SIGHUP, lambda number, _: _held.append(number))


@contextmanager
def sighup_events() -> Iterator[AsyncIterator[int]]:
    """Each SIGHUP from now on, with one that was held. Only in the main thread."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        if _held:
            _held.clear()
            signal.raise_signal(signal.SIGHUP)
        yield signals


async def reload_on_hangup(
    panel: Panel,
    path: Path,
    profile: str | None,
    *,
    also: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Give the panel's breakers the file's policies at each SIGHUP, for ever. Only in the main thread.

    also: called at each SIGHUP, too. State, windows and calls in flight stay. A file that can't be used is
    reported, and changes nothing.
    """
    with sighup_events() as signals:
        task_status.started()
        async for _ in signals:
            also()
            try:
                changed = await reload_policies(panel, path, profile)
            except BadConfiguration as error:
                refuse(error)
            else:
                log.info("the policies are read again", changed=changed)


def refuse(error: BadConfiguration) -> None:
    """Report a file that can't be used."""
    log.error("the policies can't be used; nothing has changed", reason=str(error))
