"""The request log of gRPC: one line for each call to this process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from h2.exceptions import StreamClosedError

from protocols.http import REQUEST_ID
from runtime.web.errors import ApiError
from runtime.web.request_log import request_id

Call = Callable[[Stream[Any, Any]], Awaitable[None]]

log = structlog.get_logger("grpc")


class WrappedService:
    """A grpclib service with wrapped methods. wrap: returns the new method for a path and a method."""

    def __init__(self, service: Any, wrap: Callable[[str, Call], Call]) -> None:
        self._service = service
        self._wrap = wrap

    def __mapping__(self) -> dict[str, Handler]:
        """The handlers by path; grpclib calls this."""
        handlers: dict[str, Handler] = self._service.__mapping__()
        return {
            path: handler._replace(func=self._wrap(path, handler.func)) for path, handler in handlers.items()
        }


def logged_service(service: Any) -> WrappedService:
    """The service with one log line for each call. All lines of a call have the caller's request id."""
    return WrappedService(service, _logged)


def status_of(error: BaseException | None) -> Status:
    """The status of a call that raised `error`; None: OK.

    CANCELLED if the caller is gone: the stream is closed, or the call was cancelled.
    """
    if isinstance(error, GRPCError):
        return error.status
    if error is None:
        return Status.OK
    is_cancelled = isinstance(error, StreamClosedError) or not isinstance(error, Exception)
    return Status.CANCELLED if is_cancelled else Status.UNKNOWN


async def run_noting_end(
    func: Call, stream: Stream[Any, Any], note_end: Callable[[BaseException | None], None]
) -> None:
    """Run a call, then `note_end` with the exception that it raised, also Cancelled; None: it raised none."""
    try:
        await func(stream)
    except BaseException as error:
        note_end(error)
        raise
    note_end(None)


def _logged(path: str, func: Call) -> Call:
    async def logged(stream: Stream[Any, Any]) -> None:
        started = time.monotonic()

        def log_call(error: BaseException | None) -> None:
            log.info(
                "request",
                method=path.strip("/"),
                status=status_of(error).name,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
                **_error_fields(error),
            )

        caller_id = stream.metadata.get(REQUEST_ID.lower()) if stream.metadata else None
        with structlog.contextvars.bound_contextvars(request_id=request_id(str(caller_id or ""))):
            await run_noting_end(func, stream, log_call)

    return logged


def _error_fields(error: BaseException | None) -> dict[str, str]:
    """The log fields of the ApiError behind a failed call."""
    cause = None if error is None else error.__cause__
    return cause.log_fields() if isinstance(cause, ApiError) else {}
