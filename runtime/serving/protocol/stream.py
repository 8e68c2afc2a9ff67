"""The ASGI side of one request, for HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from dataclasses import dataclass
from secrets import token_hex
from typing import Any, cast
from urllib.parse import unquote

import structlog
import trio
from hypercorn.protocol.events import (
    Body,
    Event,
    InformationalResponse,
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.http_stream import HTTPStream

from runtime.asgi import Message
from runtime.header_fields import Fields, http_date
from runtime.serving import extensions
from runtime.serving.limits import Limits
from runtime.serving.protocol.error_response import error_response
from runtime.serving.protocol.incoming_request import BadRequest, IncomingRequest

# Fields about the connection, which the server decides.
_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade")
)

RECHECK_SECONDS = 0.05
"""Seconds added once to an expired limit, to read data that arrived in time."""

log = structlog.get_logger("runtime")


@dataclass(frozen=True)
class LastBody(Body):
    """The last piece of a body without trailers. The end of the body is sent in the same write."""


class RequestStream(HTTPStream):
    """Runs the app for one request.

    Hypercorn's own stream queues the request's body for the app. Here the app reads it from `request.body`:
    the client's time limits count only while the app waits, 100 (Continue) is sent when the app asks for the
    body, and HTTP/2's windows open as the app reads.

    status: of the response, None before it has begun. is_complete: the whole response was passed to the
    protocol. bodiless: the response has no body. length: its Content-Length.
    """

    request: IncomingRequest
    limits: Limits

    def __init__(self, request: IncomingRequest, limits: Limits, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.request = request
        self.limits = limits
        self.status: int | None = None
        self.bodiless = False
        self.length: int | None = None
        self.is_complete = False
        self._body_bytes = 0
        self._pending_head: Response | None = None
        self._has_trailers = False
        self._received_all = False
        self._wait_budget = limits.upload_seconds
        self._continued = not request.expects_continue
        self._has_rechecked = False

    async def handle(self, event: Event) -> None:
        """Handle Hypercorn's StreamClosed. Other events carry the request's body, which bypasses them."""
        if isinstance(event, StreamClosed):
            self.close()

    def start(self) -> None:
        """Run the app in a task of its own."""
        self.scope = self._scope()  # type: ignore[assignment]
        self.task_group.spawn(self._run)

    def close(self) -> None:
        """Report a disconnect to the app: the response is complete, or the client has disconnected."""
        self.closed = True
        self.request.body.disconnect()

    def _scope(self) -> Message:
        request = self.request
        path, _, query = request.target.partition(b"?")
        offered: Message = {
            extensions.TARGET: request.target,
            extensions.CANCEL_ON_DISCONNECT: self.request.body.cancel_on_disconnect,
            extensions.INFORMATIONAL: {},
            extensions.TRAILERS: {},
        }
        if request.version == "2" and request.length == 0:
            offered[extensions.BODILESS] = {}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": request.method,
            "scheme": self.scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": request.fields,
            "client": self.client,
            "server": self.server,
            "state": {},
            "extensions": offered,
        }

    async def _run(self) -> None:
        try:
            await self.app(self.scope, cast(Any, self.receive), cast(Any, self.app_send), _unused, _unused)
        except Exception:
            log.exception("the app failed")
        except BaseExceptionGroup as group:
            # Together with Cancelled, a failure would end the server instead of only this connection.
            cancelled, failed = group.split(trio.Cancelled)
            if failed is not None:
                log.exception("the app failed", exc_info=failed)
            if cancelled is not None:
                raise cancelled from None
        finally:
            await self.app_send(None)

    async def receive(self) -> Message:
        """Return the next piece of the body; after the last, wait for the client to disconnect."""
        body = self.request.body
        while not body.disconnected:
            if body.error is not None and not self._received_all:
                break
            if body.size or (body.ended and not self._received_all):
                self._received_all = body.ended
                size, piece = body.size, body.take()
                if size:
                    await self._body_taken(size)
                return {"type": "http.request", "body": piece, "more_body": not body.ended}
            if self._received_all:
                await body.changed()
            else:
                await self._next_piece()
        return {"type": "http.disconnect"}

    async def _body_taken(self, size: int) -> None:
        """Note that the app has read `size` bytes. HTTP/2 opens its windows by as many."""

    async def _next_piece(self) -> None:
        """Wait for the next piece, within the client's time limits."""
        if not self._continued and self.status is None:
            self._continued = True
            await self.send(InformationalResponse(self.stream_id, [], 100))
        limits, body, start = self.limits, self.request.body, trio.current_time()
        with trio.move_on_after(min(limits.body_seconds, self._wait_budget)) as waiting:
            await body.changed()
        if waiting.cancelled_caught and not await self._recheck():
            body.fail(BadRequest("the body came too slowly", 408))
        earned = body.size / limits.upload_rate - (trio.current_time() - start)
        # The last piece may arrive late enough to make the budget negative.
        self._wait_budget = max(0.0, min(limits.upload_seconds, self._wait_budget + earned))

    async def _recheck(self) -> bool:
        """Wait once more: after a stall, trio reports a deadline before the data that arrived in time."""
        body = self.request.body
        if self._has_rechecked:
            return False
        self._has_rechecked = True
        with trio.move_on_after(RECHECK_SECONDS):
            while not (body.size or body.ended or body.disconnected or body.error):
                await body.changed()
            return True
        return False

    async def app_send(self, message: Message | None) -> None:  # type: ignore[override]
        """Send a part of the response, unless the client has disconnected. None: the app has ended."""
        if message is None:
            await self._end_of_app()
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message)
        elif self.closed:
            # An app that only sends, without end, must not block the event loop.
            await trio.lowlevel.checkpoint()
        elif kind == "http.response.body":
            await self._body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.trailers":
            await self._trailers(message["headers"])
        elif kind == extensions.INFORMATIONAL and self.status is None:
            await self._inform(message["status"], message["headers"])

    def _start(self, message: Message) -> None:
        """Keep the head until the first piece of the body. Raises RuntimeError for a second head."""
        if self.status is not None:
            raise RuntimeError("a response has one head")
        status = self.status = message["status"]
        self.bodiless = self.request.method == "HEAD" or status in (204, 304)
        fields: Fields = []
        has_date = False
        for name, value in message["headers"]:
            lower = name.lower()
            if lower in _CONNECTION and not (status == 426 and lower == b"upgrade"):
                continue
            if lower == b"content-length":
                if status == 204:
                    continue
                self.length = int(value)
            elif lower == b"date":
                has_date = True
            fields.append((lower, value))
        if not has_date:
            fields.append((b"date", http_date()))
        # Only a chunked body can have trailers (RFC 9112, 7.1.2).
        may_have_trailers = self.length is None and not self.bodiless and self.request.version != "1.0"
        self._has_trailers = may_have_trailers and bool(message.get("trailers"))
        self._pending_head = Response(self.stream_id, fields, status)

    async def _body(self, data: bytes, *, more: bool) -> None:
        if self.status is None or self.is_complete:
            raise RuntimeError("a body comes between a response's head and its end")
        if self.bodiless:
            data = b""
        elif self.length is not None:
            self._body_bytes += len(data)
            if self._body_bytes > self.length or (self._body_bytes < self.length and not more):
                raise RuntimeError("the body isn't as long as its Content-Length")
        await self._send_head()
        if more or self._has_trailers:
            await self.send(Body(self.stream_id, data))
            return
        await self.send(LastBody(self.stream_id, data))
        self.is_complete = True
        await self.send(StreamClosed(self.stream_id))

    async def _send_head(self) -> None:
        if self._pending_head is not None:
            await self.send(self._pending_head)
            self._pending_head = None

    async def _trailers(self, fields: Fields) -> None:
        if not self._has_trailers or self.is_complete:
            return
        await self._send_head()
        await self.send(Trailers(self.stream_id, [(name.lower(), value) for name, value in fields]))
        self.is_complete = True
        await self.send(StreamClosed(self.stream_id))

    async def _inform(self, status: int, fields: Fields) -> None:
        if self.request.version != "1.0":
            self._continued = self._continued or status == 100
            await self.send(InformationalResponse(self.stream_id, fields, status))

    async def _end_of_app(self) -> None:
        if self.closed or self.is_complete:
            return
        if self.status is None or self._pending_head is not None:
            error = self.request.body.error or BadRequest("internal error", 500)
            refusal = error if isinstance(error, BadRequest) else BadRequest(str(error))
            await self.refuse(refusal, reached_app=True)
        else:
            await self.send(StreamClosed(self.stream_id))

    async def refuse(self, error: BadRequest, *, reached_app: bool = False) -> None:
        """Answer instead of the app, and close the connection."""
        self.limits.statistics.note_refusal(error.status, reached_app=reached_app)
        request_id = token_hex(16)
        address = self.client[0] if self.client else "unknown"
        log.warning(
            "request refused", reason=str(error), status=error.status, client=address, request_id=request_id
        )
        fields, body = error_response(error.status, str(error), request_id)
        self.status = error.status
        self.bodiless = self.request.method == "HEAD"
        self.length = len(body)
        self.request.close = True
        await self.send(Response(self.stream_id, fields, error.status))
        await self.send(LastBody(self.stream_id, b"" if self.bodiless else body))
        self.is_complete = True
        await self.send(StreamClosed(self.stream_id))

    def sends_body(self) -> bool:
        """Return whether the client sends its body: it needs no 100 (Continue), or got it."""
        return self._continued or self.request.body.ended


def _unused(*_: Any) -> None:
    """Replaces two callables that only WSGI apps need."""
