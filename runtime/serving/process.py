"""How a process that serves starts, and how it learns that it is to stop."""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
import trio

from runtime.serving.listening import CannotListen


async def stop_signal() -> None:
    """Return when this process gets SIGTERM or SIGINT. Only in the main thread."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            structlog.get_logger("runtime").info("stopping", signal=signal.Signals(number).name)
            return


def run_process(main: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run a process's `main` on trio. An address that can't be listened on is one line and exit code 1."""
    _raise_file_limit()
    try:
        trio.run(partial(main, *args))
    except (CannotListen, BaseExceptionGroup) as error:
        refused = _refused(error)
        if not refused:
            raise
        print("\n".join(refused), file=sys.stderr)
        raise SystemExit(1) from None


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual soft limit is less than the connections we allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _refused(error: BaseException) -> list[str]:
    """The messages of CannotListen, if `error` consists of nothing else."""
    if isinstance(error, CannotListen):
        return [str(error)]
    if not isinstance(error, BaseExceptionGroup) or error.split(CannotListen)[1] is not None:
        return []
    return [line for leaf in error.exceptions for line in _refused(leaf)]
