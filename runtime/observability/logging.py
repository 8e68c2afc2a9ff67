"""One way to log for every process: structlog, with the standard library's loggers through it.

On a terminal, lines for people; otherwise one JSON object a line. Both go to standard output. What is bound
with `structlog.contextvars` (the request's id) is on every line. Never log a password, token or e-mail
address: log ids. What gets in all the same, in a path or in a driver's error, is masked by its shape; and
the process's own ADMIN_TOKEN and WEBHOOK_SECRET by their value.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runtime.observability.printable import printable

_SECRET = ("password", "token", "secret", "authorization", "email", "cookie")
# Access tokens and refresh tokens; and what stands around an @, escaped or not: an address, or credentials.
# Also in the middle of a word. A run without a dot is taken whole, and left: no search begins in it again.
_TOKENS = re.compile(r"eyJ[\w-]{8,}[\w.-]*|[0-9a-f]{32}\.[\w-]{43}")
_SHORTEST_TOKEN = 60
# U+FF20 and U+FE6B are read as an @ by whoever normalises text.
_ADDRESSES = re.compile(
    r"""(?:"[^"@/\\]{1,64}\\?"|(?<![^\s@\uff20\ufe6b/"'<>])[^\s@\uff20\ufe6b/"'<>]+)"""
    r"""(?:[@\uff20\ufe6b]|%(?:25)*40)[^\s/"'<>,?}]+""",
    re.IGNORECASE,
)
_SLASH = re.compile("%2f", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""A shorter value is a word like others: masking it would garble the log and hide nothing."""
_PATH_LENGTH = 200


class _Known:
    """The secrets of this process, as they may be written; of the whole process, as logging is."""

    secrets: tuple[str, ...] = ()


def configure_logs(process: str, log_format: str, secrets: Iterable[str] = ()) -> None:
    """Send all logging of this process to standard output, as `log_format`: auto, json or console.

    secrets: values that are masked wherever they stand; of those shorter than 8 characters none is.
    """
    long = [one for one in secrets if len(one) >= _SHORTEST_SECRET]
    _Known.secrets = tuple({form for one in long for form in (one, one.replace("/", "%2F"))})
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _exception,
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
    logging.captureWarnings(True)
    sys.excepthook = _report_crash
    threading.excepthook = _report_thread
    sys.unraisablehook = _report_unraisable


def _report_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None, /) -> None:
    """What ends the process is a line like others: it may quote what must stay inside, too."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger("runtime").critical("the process ends", exc_info=(kind, error, trace))


def _report_thread(told: threading.ExceptHookArgs, /) -> None:
    error = told.exc_value or told.exc_type()
    structlog.get_logger("runtime").error(
        "a thread ended", exc_info=(told.exc_type, error, told.exc_traceback)
    )


def _report_unraisable(told: Any, /) -> None:
    """An error where nobody could be told of it, such as in a finaliser."""
    info = (told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback)
    structlog.get_logger("runtime").error("an error was ignored", exc_info=info)


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
        plain = structlog.dev.plain_traceback  # else it warns that tracebacks are text already
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)
        return [_printable, renderer]
    return [structlog.processors.JSONRenderer()]


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """On a terminal no text may be more than text; in JSON control characters are escapes anyway."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable(value, keep="\n" if key in ("exception", "stack") else "")
    return event


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


# As text before secrets are looked for: an error's message may quote a document or a URI.
_exception = structlog.processors.format_exc_info


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The last line of defence: what is called a secret, and what looks like one in any text."""
    for key, value in event.items():
        if _is_secret(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def redact(text: str) -> str:
    """The text without our secrets, and what looks like a token, an address or a URI's credentials."""
    for secret in _Known.secrets:
        if secret in text:
            text = text.replace(secret, "***")
    if "@" in text or "%" in text or not text.isascii():
        text = _ADDRESSES.sub("***", text)
    return _TOKENS.sub(_without_token, text) if len(text) >= _SHORTEST_TOKEN else text


def _without_token(found: re.Match[str]) -> str:
    return "***" if "." in found[0] else found[0]


def loggable_path(scope: Mapping[str, Any]) -> str:
    """A request's path for a log or a span: no query, and 200 characters at most.

    An escaped slash stays one: what stands before it belongs to the same name, and is masked with it.
    """
    path: str = scope["path"]
    if "/" in path[1:] and b"%2" in (raw := scope.get("raw_path") or b""):
        path = unquote(_SLASH.sub("%252F", raw.decode("latin-1")))
    # A secret that is cut is no longer known by its shape.
    return path if len(path) <= _PATH_LENGTH else redact(path)[:_PATH_LENGTH]


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET)


class _Named:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> Any:
        event.setdefault("process", self._process)
        return event
