"""A line in the log for each gRPC call to this process, however it ends."""

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


class Around:
    """A grpclib service around another: `wrap` makes each function anew, from its path and itself."""

    def __init__(self, service: Any, wrap: Callable[[str, Call], Call]) -> None:
        self._service = service
        self._wrap = wrap

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks a service for."""
        handlers: dict[str, Handler] = self._service.__mapping__()
        return {
            path: handler._replace(func=self._wrap(path, handler.func)) for path, handler in handlers.items()
        }


def logged_service(service: Any) -> Around:
    """The service; the caller's request id is on every line that a call to it writes."""
    return Around(service, _logged)


def ended(error: BaseException | None) -> Status:
    """The status of a call that ended with `error`. Raised where nobody waits any more, it is CANCELLED."""
    if isinstance(error, GRPCError):
        return error.status
    if error is None:
        return Status.OK
    left = isinstance(error, StreamClosedError) or not isinstance(error, Exception)
    return Status.CANCELLED if left else Status.UNKNOWN


def _logged(path: str, func: Call) -> Call:
    async def logged(stream: Stream[Any, Any]) -> None:
        started, error = time.monotonic(), None
        given = stream.metadata.get(REQUEST_ID.lower()) if stream.metadata else None
        with structlog.contextvars.bound_contextvars(request_id=request_id(str(given or ""))):
            try:
                await func(stream)
            except BaseException as raised:
                error = raised
                raise
            finally:
                log.info(
                    "request",
                    method=path.strip("/"),
                    status=ended(error).name,
                    duration_ms=round((time.monotonic() - started) * 1000, 1),
                    **_refusal(error),
                )

    return logged


def _refusal(error: BaseException | None) -> dict[str, str]:
    """What a refused call is told of."""
    cause = None if error is None else error.__cause__
    return cause.log_fields() if isinstance(cause, ApiError) else {}
