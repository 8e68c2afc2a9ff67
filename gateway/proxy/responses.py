"""The gateway's own responses, and the writer that sends every response to the client."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx

from actors import BulkheadFullError, CallRejected, CallTimeout
from gateway.proxy.headers import Fields
from gateway.upstream.connection import LocalShortage
from protocols.http import REQUEST_ID, Code, failure
from runtime.asgi import Send
from runtime.header_fields import SECURITY_FIELDS, encoded
from runtime.web.errors import ApiError

ALLOWED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class OptionsResponse(Exception):
    """The gateway's response to a preflight (CORS), or to OPTIONS for itself (RFC 9110, 9.3.7 and 7.6.2).

    fields: of the response, without those that every response has.
    """

    def __init__(self, fields: Fields | None = None) -> None:
        super().__init__("answered here")
        self.fields = [(b"allow", ALLOWED)] if fields is None else fields


def max_forwards_response(method: str) -> OptionsResponse | ApiError:
    """The response to a request whose Max-Forwards is zero (RFC 9110, 7.6.2)."""
    if method == "OPTIONS":
        return OptionsResponse()
    # A response to TRACE would show a page's scripts fields that they must not see.
    fields = {"Allow": ALLOWED.decode()}
    return ApiError(Code.METHOD_NOT_ALLOWED, "TRACE isn't answered here", fields=fields)


def breaker_rejection(error: CallRejected) -> ApiError:
    """The response to a call that the breaker or its bulkhead has rejected."""
    wait = error.retry_after
    if isinstance(error, BulkheadFullError):
        return ApiError(Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=wait)
    message = "Service is temporarily unavailable due to circuit breaker"
    return ApiError(Code.CIRCUIT_BREAKER_OPEN, message, retry_after=wait)


def bad_gateway() -> ApiError:
    """The response if the upstream can't be reached, or aborts or garbles its response."""
    return ApiError(Code.SERVICE_UNAVAILABLE, "Target service is unavailable", status=502)


def gateway_timeout() -> ApiError:
    """The response if the upstream's time is over."""
    return ApiError(Code.GATEWAY_TIMEOUT, "Target service did not answer in time")


def overloaded() -> ApiError:
    """The response if the gateway itself lacks files, memory or ports."""
    return ApiError(Code.GATEWAY_OVERLOADED, "The gateway has no room for the request", retry_after=1.0)


def too_large(limit: int) -> ApiError:
    """The response if the request's body is larger than `limit` bytes."""
    return ApiError(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {limit} bytes")


class ResponseWriter:
    """Sends the response to one request. Every method waits while the client is slow.

    sends_interim: the server can send 1xx responses. add_fields: adds to the fields of every response.
    status: None until `head`. ended: the whole response was sent. error: of the gateway's own response, if
    it has sent one. failure_origin: the breaker that has counted the service's failure, if any.
    is_rejection_behind: that breaker has probably rejected the call: the response has a Retry-After.
    """

    def __init__(
        self,
        send: Send,
        request_id: bytes,
        *,
        sends_interim: bool = False,
        add_fields: Callable[[Fields], Fields] | None = None,
    ) -> None:
        self._send = send
        self._add_fields = add_fields
        self._sends_interim = sends_interim
        self._trailers = False
        self.request_id = request_id
        self.status: int | None = None
        self.ended = False
        self.error: ApiError | None = None
        self.failure_origin: str | None = None
        self.is_rejection_behind = False

    async def interim(self, status: int, fields: Fields) -> None:
        """Send a 1xx response if the server can, and the final response hasn't begun."""
        if self._sends_interim and self.status is None:
            await self._send({"type": "http.response.informational", "status": status, "headers": fields})

    async def head(self, status: int, fields: Fields, *, trailers: bool = False) -> None:
        """Begin the response. The server may hold the head until the first piece of the body, or `flush`.

        trailers: `end` may send trailers.
        """
        self.status = status
        self._trailers = trailers
        if self._add_fields is not None:
            fields = self._add_fields(fields)
        await self._send(
            {"type": "http.response.start", "status": status, "headers": fields, "trailers": trailers}
        )

    async def flush(self) -> None:
        """Send the head before there is a piece of the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body."""
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, last: bytes, trailers: Fields | None = None) -> None:
        """Send the last piece of the body, and the trailers."""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
        if self._trailers:
            await self._send({"type": "http.response.trailers", "headers": trailers or []})
        self.ended = True

    async def send_error(self, error: ApiError) -> None:
        """Send a whole response of the gateway's own, with the envelope of a failure."""
        self.error = error
        body = json.dumps(failure(error.code, error.message)).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        fields += encoded({**SECURITY_FIELDS, **error.headers()})
        await self._send_whole(error.status, fields, body)

    async def send_options(self, response: OptionsResponse) -> None:
        """Send the whole response to OPTIONS for the gateway itself."""
        await self._send_whole(204, response.fields, b"")

    async def _send_whole(self, status: int, fields: Fields, body: bytes) -> None:
        await self.head(status, [*fields, (REQUEST_ID.lower().encode(), self.request_id)])
        await self.end(body)


def error_response(error: Exception) -> ApiError:
    """The response if an upstream call has raised this error before a response was begun."""
    if isinstance(error, CallRejected):
        return breaker_rejection(error)
    if isinstance(error, LocalShortage):
        return overloaded()
    if isinstance(error, httpx.PoolTimeout):
        return ApiError(Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=1.0)
    if isinstance(error, httpx.ConnectTimeout):
        return bad_gateway()
    if isinstance(error, httpx.TimeoutException | CallTimeout):
        return gateway_timeout()
    if isinstance(error, httpx.LocalProtocolError):
        return ApiError(Code.INVALID_REQUEST, "The request can't be passed on")
    return bad_gateway()
