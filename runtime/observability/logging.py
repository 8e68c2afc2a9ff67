"""Logging for every process: structlog, and the standard library's loggers through it.

On a terminal each line is formatted for people, otherwise it is a JSON object. Lines go to standard output.
Fields bound with `structlog.contextvars` (such as the request's id) are on every line. Never log a password,
token or e-mail address: log ids. As a last line of defence every text is redacted (see `redaction`).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runtime.observability.printable import printable
from runtime.observability.redaction import MASK, hide_values, names_secret, redact

UNLOGGED_PATHS = ("/health", "/livez", "/readyz", "/metrics", "/breakers")
"""Paths that machines poll: their requests leave neither a log line nor a span."""


def configure_logs(process: str, log_format: str, secrets: Iterable[str] = ()) -> None:
    """Send all logging of this process to standard output.

    process: the `process` field of each line. log_format: auto, json or console; auto: console on a terminal.
    secrets: values to hide wherever they occur; those shorter than 8 characters aren't hidden.
    """
    hide_values(secrets)
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Before secrets are hidden: an error's message may quote a document or a URI.
        structlog.processors.format_exc_info,
        _hide_secrets,
        _AddProcess(process),
    ]
    renderers = _renderers(console)
    structlog.configure(
        processors=[_drop_debug, *shared, *renderers],
        logger_factory=_StdoutLogger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    _redirect_standard_logging(shared, renderers)
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread_crash
    sys.unraisablehook = _log_unraisable


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None, /) -> None:
    """Log the error that ends the process. Python's own report would not be redacted."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger("runtime").critical("the process ends", exc_info=(kind, error, trace))


def _log_thread_crash(args: threading.ExceptHookArgs, /) -> None:
    error = args.exc_value or args.exc_type()
    structlog.get_logger("runtime").error(
        "a thread ended", exc_info=(args.exc_type, error, args.exc_traceback)
    )


def _log_unraisable(args: Any, /) -> None:
    """Log an error that has no caller to propagate to, such as a finaliser's."""
    info = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    structlog.get_logger("runtime").error("an error was ignored", exc_info=info)


class _StdoutLogger:
    """Writes lines itself: the standard library's loggers cost more than the rest of the line together."""

    def __init__(self, name: str = "runtime") -> None:
        self.name = name

    def info(self, line: str) -> None:
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # standard output is closed or full: no reason to fail the work that is being logged

    debug = warning = error = exception = critical = info


def _drop_debug(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if method == "debug":
        raise structlog.DropEvent
    return event


def _renderers(console: bool) -> list[Processor]:
    if console:
        # Tracebacks are text already; any other formatter would warn about that.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)
        return [_printable, renderer]
    return [structlog.processors.JSONRenderer()]


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters, which a terminal would obey. JSON escapes them anyway."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value, keep="\n" if key in ("exception", "stack") else "")
    return event


def _redirect_standard_logging(shared: list[Processor], renderers: list[Processor]) -> None:
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
    # They log each request or connection, and httpx's line contains the whole URL.
    for noisy in ("httpx", "httpcore", "pymongo", "grpclib", "hpack", "hypercorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It logs each lost connection with a traceback; our own lines say that the store is gone, once.
    logging.getLogger("coredis").setLevel(logging.CRITICAL)


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if names_secret(key):
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


class _AddProcess:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> Any:
        event.setdefault("process", self._process)
        return event
