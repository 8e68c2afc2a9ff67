"""One way to log for every process: structlog, with the standard library's loggers through it.

On a terminal, lines for people; otherwise one JSON object a line. Both go to standard output. What is bound
with `structlog.contextvars` (the request's id) is on every line. Never log a password, token or e-mail
address: log ids.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = ("password", "token", "secret", "authorization", "email", "cookie")


def configure_logs(process: str, log_format: str) -> None:
    """Send all logging of this process to standard output, as `log_format`: auto, json or console."""
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _hide_secrets,
        _Named(process),
    ]
    renderers = _renderers(console)
    structlog.configure(
        processors=[_drop_debug, *shared, *renderers],
        logger_factory=_Lines,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _take_over_standard_logging(shared, renderers)


class _Lines:
    """Writes lines. Not by the standard library's loggers: they cost more than all of a line's making."""

    def __init__(self, name: str = "runtime") -> None:
        self.name = name

    def info(self, line: str) -> None:
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # nobody reads, or nothing can be written: no reason to fail what was to be told of

    debug = warning = error = exception = critical = info


def _drop_debug(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if method == "debug":
        raise structlog.DropEvent
    return event


def _renderers(console: bool) -> list[Processor]:
    if console:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _take_over_standard_logging(shared: list[Processor], renderers: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # These write a line for each request or connection, and httpx's carries the whole URL.
    for noisy in ("httpx", "httpcore", "pymongo", "grpclib", "hpack", "hypercorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last line of defence: a field whose name speaks of a secret loses its value."""
    for key in event:
        if _is_secret(key):
            event[key] = "***"
    return event


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET)


class _Named:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> Any:
        event.setdefault("process", self._process)
        return event
