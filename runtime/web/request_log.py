"""Every request's id, deadline and log line, however the request ends."""

from __future__ import annotations

import math
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import structlog
import trio
from quart import Response, g, request
from quart_trio import QuartTrio

from protocols.http import REQUEST_ID, REQUEST_TIMEOUT_MS
from runtime.observability.logging import UNLOGGED_PATHS
from runtime.observability.redaction import loggable_path
from runtime.observability.sampling import RejectionSampler
from runtime.web.connection import CLIENT_DISCONNECTED, Connection

if TYPE_CHECKING:
    from quart.ctx import RequestContext
    from quart.typing import ResponseReturnValue

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

log = structlog.get_logger("http")


class DeadlineExceeded(Exception):
    """The deadline that the caller sent has passed."""


class InstrumentedApp(QuartTrio):
    """An app that writes one log line for each request, even if the handler is cancelled.

    Of the requests that a breaker rejects, it writes those that RejectionSampler admits.

    A caller's X-Request-Timeout-Ms is the deadline of the handler; past it the error handler of
    DeadlineExceeded answers. `received_body` suspends the deadline. A client that disconnects cancels the
    handler too; the request gets no response, and its line has the field `client_left`.
    """

    asgi_http_class = Connection

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.before_request(_begin)
        self.after_request(self._end)
        self._sampler = RejectionSampler()

    async def dispatch_request(self, request_context: RequestContext | None = None) -> ResponseReturnValue:
        """Dispatch the request as Quart does, within the caller's deadline. Raises DeadlineExceeded."""
        seconds = seconds_left(request.headers.get(REQUEST_TIMEOUT_MS, ""))
        try:
            with trio.move_on_after(seconds) as g.caller_deadline:
                return await super().dispatch_request(request_context)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._log_request(None, client_left=CLIENT_DISCONNECTED in request.scope)
            raise
        raise DeadlineExceeded

    async def _end(self, response: Response) -> Response:
        response.headers[REQUEST_ID] = g.request_id
        self._log_request(response.status_code, **g.get("log_fields", {}))
        return response

    def _log_request(self, status: int | None, **more: Any) -> None:
        if not self._sampler.admits(more):
            return
        write = log.debug if request.path in UNLOGGED_PATHS else log.info
        write(
            "request",
            method=request.method,
            path=loggable_path(request.scope),
            status=status,
            duration_ms=round((time.monotonic() - g.started) * 1000, 1),
            **more,
        )


async def received_body() -> bytes:
    """Return the request's whole body. The caller's deadline is suspended while this waits for the client.

    The deadline limits this service and its dependencies. The server limits the time that a client may take
    to send its body (`runtime.serving.limits`).
    """
    deadline: trio.CancelScope | None = g.get("caller_deadline")
    if deadline is None or math.isinf(deadline.deadline):
        return bytes(await request.body)
    left = deadline.deadline - trio.current_time()
    deadline.deadline = math.inf
    try:
        return bytes(await request.body)
    finally:
        deadline.deadline = trio.current_time() + left


def request_id(given: str | None) -> str:
    """Return the client's request id if it is acceptable, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def seconds_left(text: str) -> float:
    """Return the seconds that a caller still waits. text: milliseconds; anything else: inf."""
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 10 else math.inf


async def _begin() -> None:
    g.request_id = request_id(request.headers.get(REQUEST_ID))
    g.started = time.monotonic()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
