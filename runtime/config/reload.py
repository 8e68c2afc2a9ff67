"""Reads breakers.toml again in a running process, on SIGHUP or an operator's command."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog
import trio

from actors import Panel
from runtime.config.policies import CODE_FIELDS, BadConfiguration
from runtime.config.policy_file import load_breakers

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
    panel: Panel,
    path: Path,
    profile: str | None,
    *,
    also: Callable[[], None] = lambda: None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Give the panel's breakers the file's policies at each SIGHUP, until cancelled. Only in the main thread.

    also: called first at each SIGHUP. The breakers keep their state, windows and calls in flight. An unusable
    file is logged and changes nothing.
    """
    with sighup_events() as signals:
        task_status.started()
        async for _ in signals:
            also()
            try:
                changed = await reload_policies(panel, path, profile)
            except BadConfiguration as error:
                log_unusable(error)
            else:
                log.info("the policies are read again", changed=changed)


async def reload_policies(panel: Panel, path: Path, profile: str | None) -> list[str]:
    """Give the panel's breakers the file's policies and return the names of the changed ones.

    The fields in CODE_FIELDS keep their values. Raises BadConfiguration, and has changed nothing then.
    """
    policies = await trio.to_thread.run_sync(load_breakers, path, profile)
    changed = []
    for breaker in panel:
        config = breaker.config
        code = {field: getattr(config, field) for field in CODE_FIELDS}
        # A route's breaker has its service's policy; its name is the service's, a colon and the route's.
        policy = replace(policies[breaker.name.partition(":")[0]], name=breaker.name, **code)
        if policy != config:
            await breaker.configure(policy)
            changed.append(breaker.name)
    return changed


def log_unusable(error: BadConfiguration) -> None:
    """Log that a file can't be used."""
    log.error("the policies can't be used; nothing has changed", reason=str(error))
