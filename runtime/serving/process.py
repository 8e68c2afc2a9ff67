"""Starting a server process on trio, and waiting for its stop signal."""

from __future__ import annotations

import gc
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
    """Return when this process receives SIGTERM or SIGINT. Only in the main thread."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            structlog.get_logger("runtime").info("stopping", signal=signal.Signals(number).name)
            return


def run_process(main: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run `main(*args)` on trio.

    CannotListen ends the process with 1, after a line for each address.
    """
    _raise_file_limit()
    try:
        trio.run(partial(main, *args))
    except (CannotListen, BaseExceptionGroup) as error:
        failures = _listen_failures(error)
        if not failures:
            raise
        print("\n".join(failures), file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        # At its exit Python collects garbage among all imported modules: 0.2 s for nothing.
        gc.freeze()


def _raise_file_limit() -> None:
    """Raise the soft limit on open files: each connection is one, and the default is below our limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS allows less than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listen_failures(error: BaseException) -> list[str]:
    """Return the messages of CannotListen, or nothing if `error` contains any other exception."""
    if isinstance(error, CannotListen):
        return [str(error)]
    if not isinstance(error, BaseExceptionGroup) or error.split(CannotListen)[1] is not None:
        return []
    return [line for leaf in error.exceptions for line in _listen_failures(leaf)]
