"""Reads breakers.toml again in a running process on SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
import trio

from runtime.config.policies import BadConfiguration

_deferred: list[int] = []
"""Signals that arrived before `sighup_events`."""

log = structlog.get_logger("runtime")


def defer_sighup() -> None:
    """Record each SIGHUP from now on, instead of ending the process, until `sighup_events` takes over.

    Only in the main thread.
    """
    signal.signal(signal.SIGHUP, lambda number, _: _deferred.append(number))


@contextmanager
def sighup_events() -> Iterator[AsyncIterator[int]]:
    """Yield an iterator over each SIGHUP from now on, preceded by a deferred one. Only in the main thread."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        if _deferred:
            _deferred.clear()
            signal.raise_signal(signal.SIGHUP)
        yield signals


async def reload_on_hangup(
    reload: Callable[[], Awaitable[list[str]]],
    *,
    also: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `reload` at each SIGHUP, until cancelled. Only in the main thread.

    reload: reads breakers.toml, and returns the names of the breakers that have changed. also: called first
    at each SIGHUP. An unusable file is logged and changes nothing.
    """
    with sighup_events() as signals:
        task_status.started()
        async for _ in signals:
            also()
            try:
                changed = await reload()
            except BadConfiguration as error:
                log_unusable(error)
            else:
                log.info("the policies are read again", changed=changed)


def log_unusable(error: BadConfiguration) -> None:
    """Log that a file can't be used."""
    log.error("the policies can't be used; nothing has changed", reason=str(error))
