"""What is known of each request to a service, however it ends: its id, its deadline, its line in the log."""

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
from runtime.observability.redaction import loggable_path
from runtime.web.connection import CLIENT_DISCONNECTED, Connection

if TYPE_CHECKING:
    from quart.ctx import RequestContext
    from quart.typing import ResponseReturnValue

UNLOGGED_PATHS = ("/health", "/livez", "/readyz", "/metrics", "/breakers")
"""Asked all the time by machines: neither a line nor a span for each."""

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

log = structlog.get_logger("http")


class DeadlineExceeded(Exception):
    """The caller waits no longer."""


class InstrumentedApp(QuartTrio):
    """An app whose requests each leave one line, also where the handler is cancelled.

    A caller's X-Request-Timeout-Ms is the handler's deadline, which `received_body` moves on; what is
    answered then is said by the handler of DeadlineExceeded. A client that leaves cancels it, too; then
    there is no answer, and the line says so.
    """

    asgi_http_class = Connection

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.before_request(_begin)
        self.after_request(_end)

    async def dispatch_request(self, request_context: RequestContext | None = None) -> ResponseReturnValue:
        """As Quart's. Raises DeadlineExceeded."""
        seconds = seconds_left(request.headers.get(REQUEST_TIMEOUT_MS, ""))
        try:
            with trio.move_on_after(seconds) as g.caller_deadline:
                return await super().dispatch_request(request_context)
        except BaseException as error:
            if not isinstance(error, Exception):
                _log_request(None, client_left=CLIENT_DISCONNECTED in request.scope)
            raise
        raise DeadlineExceeded


async def received_body() -> bytes:
    """The request's whole body. While it waits for the client, the caller's deadline stands still.

    The caller's time is for this service and what it depends on; how long a client may take to send its body
    is the server's to say (`runtime.serving.limits`).
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
    """The client's request id where it can be used, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def seconds_left(text: str) -> float:
    """How long a caller that sends `text` milliseconds will wait; for ever where that isn't a number."""
    return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 10 else math.inf


async def _begin() -> None:
    g.request_id = request_id(request.headers.get(REQUEST_ID))
    g.started = time.monotonic()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


async def _end(response: Response) -> Response:
    response.headers[REQUEST_ID] = g.request_id
    _log_request(response.status_code, **g.get("log_fields", {}))
    return response


def _log_request(status: int | None, **more: Any) -> None:
    write = log.debug if request.path in UNLOGGED_PATHS else log.info
    write(
        "request",
        method=request.method,
        path=loggable_path(request.scope),
        status=status,
        duration_ms=round((time.monotonic() - g.started) * 1000, 1),
        **more,
    )
