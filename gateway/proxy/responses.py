"""What the gateway itself answers, and the way every answer takes to the client."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import httpx

from actors import BulkheadFullError, CallRejected, CallTimeout
from gateway.proxy.headers import Fields
from gateway.upstream.connection import LocalShortage
from protocols.http import REQUEST_ID, RETRY_AFTER, STATUS, Code, failure
from runtime.asgi import Send

ALLOWED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class Addressed(Exception):
    """An OPTIONS request that asks the gateway itself (RFC 9110, 9.3.7 and 7.6.2), or a preflight (CORS).

    fields: of the answer, without those that every answer has.
    """

    def __init__(self, fields: Fields | None = None) -> None:
        super().__init__("answered here")
        self.fields = [(b"allow", ALLOWED)] if fields is None else fields


class LocalResponse(Exception):
    """The gateway answers by itself, with the envelope of a failure.

    retry_after: seconds; sent as whole ones, rounded up, at least 1.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code.value}: {message}")
        self.status = STATUS[code] if status is None else status
        self.body = json.dumps(failure(code, message)).encode()
        self.code = code
        self._fields = dict(fields or {})
        if retry_after is not None:
            self._fields[RETRY_AFTER] = str(whole_seconds(retry_after))

    def fields(self) -> Fields:
        """The header fields of the answer, without those that every answer has."""
        fixed = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        return fixed + [(name.lower().encode(), value.encode()) for name, value in self._fields.items()]


def max_forwards_response(method: str) -> Addressed | LocalResponse:
    """The answer to a request that came as far as its Max-Forwards lets it (RFC 9110, 7.6.2)."""
    if method == "OPTIONS":
        return Addressed()
    # TRACE tells a page's scripts what they may not see, and isn't answered.
    fields = {"Allow": ALLOWED.decode()}
    return LocalResponse(Code.METHOD_NOT_ALLOWED, "TRACE isn't answered here", fields=fields)


def whole_seconds(seconds: float) -> int:
    """As Retry-After has it: rounded up, and at least 1."""
    return max(1, math.ceil(seconds))


def breaker_rejection(error: CallRejected) -> LocalResponse:
    """The answer to a call that the breaker or its bulkhead did not admit."""
    wait = error.retry_after
    if isinstance(error, BulkheadFullError):
        return LocalResponse(
            Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=wait
        )
    message = "Service is temporarily unavailable due to circuit breaker"
    return LocalResponse(Code.CIRCUIT_BREAKER_OPEN, message, retry_after=wait)


def bad_gateway() -> LocalResponse:
    """The upstream can't be reached, broke off or answered garbage."""
    return LocalResponse(Code.SERVICE_UNAVAILABLE, "Target service is unavailable", status=502)


def gateway_timeout() -> LocalResponse:
    """The upstream did not answer in time."""
    return LocalResponse(Code.GATEWAY_TIMEOUT, "Target service did not answer in time")


def overloaded() -> LocalResponse:
    """The gateway itself lacks files, memory or ports."""
    return LocalResponse(Code.GATEWAY_OVERLOADED, "The gateway has no room for the request", retry_after=1.0)


def too_large(limit: int) -> LocalResponse:
    """The body is over the limit."""
    return LocalResponse(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {limit} bytes")


class ResponseWriter:
    """The one answer to a request. status: None until its head was given; ended: all of it was sent.

    refused: what the gateway said in the place of a service. failure_origin: the breaker that a service's
    failure is charged to. informs: the server sends 1xx responses. add_fields: adds to the fields of every
    answer.
    """

    def __init__(
        self,
        send: Send,
        request_id: bytes,
        *,
        informs: bool = False,
        add_fields: Callable[[Fields], Fields] | None = None,
    ) -> None:
        self._send = send
        self._add_fields = add_fields
        self._informs = informs
        self._trailers = False
        self.request_id = request_id
        self.status: int | None = None
        self.ended = False
        self.refused: LocalResponse | None = None
        self.failure_origin: str | None = None

    async def interim(self, status: int, fields: Fields) -> None:
        """Send a 1xx response, where the server can and the answer hasn't begun."""
        if self._informs and self.status is None:
            await self._send({"type": "http.response.informational", "status": status, "headers": fields})

    async def head(self, status: int, fields: Fields, *, trailers: bool = False) -> None:
        """Give the head, which may wait for the first piece of the body; after that, don't answer again.

        trailers: `end` may say fields that come behind the body.
        """
        self.status = status
        self._trailers = trailers
        if self._add_fields is not None:
            fields = self._add_fields(fields)
        await self._send(
            {"type": "http.response.start", "status": status, "headers": fields, "trailers": trailers}
        )

    async def flush(self) -> None:
        """Let the head go before there is a piece of the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow."""
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, last: bytes, trailers: Fields | None = None) -> None:
        """Send the last piece."""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
        if self._trailers:
            await self._send({"type": "http.response.trailers", "headers": trailers or []})
        self.ended = True

    async def refuse(self, refused: LocalResponse) -> None:
        """Answer with an envelope."""
        self.refused = refused
        await self._whole(refused.status, refused.fields(), refused.body)

    async def allow(self, addressed: Addressed) -> None:
        """Answer an OPTIONS that asks the gateway itself."""
        await self._whole(204, addressed.fields, b"")

    async def _whole(self, status: int, fields: Fields, body: bytes) -> None:
        await self.head(status, [*fields, (REQUEST_ID.lower().encode(), self.request_id)])
        await self.end(body)


def refusal(error: Exception) -> LocalResponse:
    """What a client is told where an upstream call ended in this error before anything was sent."""
    if isinstance(error, CallRejected):
        return breaker_rejection(error)
    if isinstance(error, LocalShortage):
        return overloaded()
    if isinstance(error, httpx.PoolTimeout):
        return LocalResponse(Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=1.0)
    if isinstance(error, httpx.ConnectTimeout):
        return bad_gateway()
    if isinstance(error, httpx.TimeoutException | CallTimeout):
        return gateway_timeout()
    if isinstance(error, httpx.LocalProtocolError):
        return LocalResponse(Code.INVALID_REQUEST, "The request can't be passed on")
    return bad_gateway()
