"""One request carried to its service and back, streamed both ways, under the service's breaker."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from functools import lru_cache

import httpx
import trio

from actors import BulkheadFullError, CallTimeout, CircuitOpenError
from actors.guard import Guard
from gateway.client import Client, Upload
from gateway.fields import (
    Fields,
    content_length,
    failure_origin,
    interim_fields,
    request_fields,
    response_fields,
    takes_trailers,
    trailer_fields,
)
from gateway.inbound import Inbound
from gateway.replies import Answer, Refused, http_date, rejected, too_slow, unreachable
from gateway.upstream.connection import LocalShortage
from gateway.upstream.pool import ResponseBody, UpstreamTransport
from gateway.upstream.upstream import Upstream
from protocols.breaker import RejectReason, State
from protocols.http import Code

PROBE_SECONDS = 1.0
"""How long what is read ahead of a body may take to come that is to go with a probe."""
PROBE_SHARE = 0.25
"""How much of a probe's time it may then wait for its client; the rest is the upstream's."""


class BrokenOff(Exception):
    """The upstream failed when the answer had begun: the client's connection must not end cleanly."""


class Exchange:
    """Carries one request. `nursery` outlives it: the pump of the request's body runs there."""

    def __init__(
        self,
        upstream: Upstream,
        inbound: Inbound,
        client: Client,
        answer: Answer,
        nursery: trio.Nursery,
    ) -> None:
        self._upstream = upstream
        self._inbound = inbound
        self._client = client
        self._answer = answer
        self._nursery = nursery
        self._deadline = trio.current_time() + upstream.timeout
        self._settled = trio.CancelScope()

    async def run(self) -> tuple[bytes, Fields]:
        """Answer the client, but for the last piece of the body and the trailers, which are returned.

        The breaker has counted the call by then: whoever sees the end of an answer sees its consequences too.
        Raises Refused where nothing was sent yet, else BrokenOff. Cancelling closes the upstream connection,
        and the breaker counts neither success nor failure.
        """
        try:
            return await self._guarded()
        except (CircuitOpenError, BulkheadFullError, CallTimeout, httpx.TransportError) as error:
            if self._answer.status is not None:
                raise BrokenOff(str(error)) from error
            raise _refusal(error) from error

    async def _guarded(self) -> tuple[bytes, Fields]:
        await self._may_probe()
        async with self._upstream.breaker.guard() as call:
            response = await self._head()
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                return await self._relay(call, response, response.stream)
            finally:
                await response.stream.aclose()

    async def _may_probe(self) -> None:
        """Raise Refused where this request could be a probe, but its client is slow.

        A probe's time is bounded: a client that trickles would hold it, and be taken for an outage.
        """
        breaker = self._upstream.breaker
        due = breaker.state is State.HALF_OPEN or breaker.retry_after == 0
        if not due or self._inbound.framing.empty or await self._client.keeps_up(PROBE_SECONDS):
            return
        if breaker.state is not State.CLOSED:
            raise self._no_probe()

    def _starving(self) -> float:
        """Seconds that an admitted call may wait for its client."""
        breaker = self._upstream.breaker
        most = breaker.config.half_open_timeout
        return math.inf if most is None or breaker.state is not State.HALF_OPEN else PROBE_SHARE * most

    def _no_probe(self) -> Refused:
        breaker = self._upstream.breaker
        return rejected(CircuitOpenError(breaker.name, breaker.state, None, RejectReason.PROBING))

    async def _head(self) -> httpx.Response:
        """Send the request and wait for the response's head."""
        patience = trio.CancelScope(deadline=self._deadline)
        upload = self._client.upload(patience, self._upstream.timeout, self._starving())
        with patience:
            return await self._upstream.transport.handle_async_request(self._request(upload))
        if upload.starves:
            raise self._no_probe()
        raise httpx.ReadTimeout(f"no answer within {self._upstream.timeout:g} s")

    def _request(self, upload: Upload) -> httpx.Request:
        inbound, upstream = self._inbound, self._upstream
        target = inbound.target
        fields = request_fields(
            inbound.fields,
            inbound.sender,
            inbound.framing,
            request_id=self._answer.request_id,
            # Less than our own, so that the service can give its reason before we give up.
            timeout_ms=int(upstream.timeout * 950),
            held_back=inbound.held_back,
        )
        request = httpx.Request(
            inbound.method,
            _url(upstream, target),
            headers=fields,
            stream=upload,
            extensions={"target": target, "nursery": self._nursery, "interim": self._interim},
        )
        # httpx makes it upper case; methods are case-sensitive.
        request.method = inbound.method
        return request

    async def _interim(self, status: int, fields: Fields) -> None:
        """RFC 9110, 15.2: a proxy passes 1xx responses on."""
        if status == 100:
            self._client.want()
            if not self._inbound.held_back:
                return
        await self._answer.interim(status, interim_fields(fields))

    async def _relay(
        self, call: Guard, response: httpx.Response, body: httpx.AsyncByteStream
    ) -> tuple[bytes, Fields]:
        fields = body.fields if isinstance(body, ResponseBody) else _lower(response.headers.raw)
        if response.status_code >= 500:
            self._answer.failure_origin = failure_origin(fields)
            _charge(call, response.status_code, self._answer.failure_origin)
        try:
            return await self._stream(call, response.status_code, fields, body)
        except httpx.TransportError as error:
            call.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._settled.cancel()

    async def _succeed_when_long(self, call: Guard) -> None:
        """A response that still streams when its time is up has succeeded: it could stream for hours."""
        with self._settled:
            await trio.sleep_until(self._deadline)
            if not self._settled.cancel_called:
                call.succeed()

    async def _stream(
        self, call: Guard, status: int, fields: Fields, body: httpx.AsyncByteStream
    ) -> tuple[bytes, Fields]:
        """Pass on the head and the body, as they come. Returns the piece that completes a declared length."""
        left = content_length(fields)
        trailers = left is None and takes_trailers(self._inbound.fields, self._inbound.sender.version)
        kept = response_fields(
            fields, request_id=self._answer.request_id, date=http_date(), trailers=trailers
        )
        await self._answer.head(status, kept, trailers=trailers)
        last = body.at_hand() if isinstance(body, ResponseBody) else b""
        if left != len(last) and status < 500:
            self._nursery.start_soon(self._succeed_when_long, call)
        if not last:
            await self._answer.flush()
        elif left is None or left > len(last):
            await self._answer.piece(last)
        left = None if left is None else left - len(last)
        last = last if left == 0 else b""
        pieces = aiter(body)
        while (piece := await self._next(pieces)) is not None:
            if left is not None:
                left -= len(piece)
            if left == 0:
                last = piece
            else:
                await self._answer.piece(piece)
        return last, trailer_fields(body.trailers) if isinstance(body, ResponseBody) else []

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        with trio.move_on_after(self._upstream.idle_timeout):
            return await anext(pieces, None)
        raise httpx.ReadTimeout(f"silent for {self._upstream.idle_timeout:g} s in the middle of an answer")


def _url(upstream: Upstream, target: bytes) -> httpx.URL | str:
    """The request's URL; where the transport takes only the target, the same for all: parsing costs."""
    if isinstance(upstream.transport, UpstreamTransport):
        return _parsed(upstream.base_url)
    return upstream.base_url + target.decode("latin-1")


_parsed = lru_cache(maxsize=64)(httpx.URL)


def _lower(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


def _charge(call: Guard, status: int, origin: str | None) -> None:
    """One fault, one breaker: a failure with an origin is counted there."""
    if origin is None:
        call.fail(f"status {status}")
    else:
        call.ignore()


def _refusal(error: Exception) -> Refused:
    if isinstance(error, CircuitOpenError | BulkheadFullError):
        return rejected(error)
    if isinstance(error, LocalShortage):
        return Refused(Code.GATEWAY_OVERLOADED, "The gateway has no room for the request", retry_after=1.0)
    if isinstance(error, httpx.PoolTimeout):
        return Refused(Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=1.0)
    if isinstance(error, httpx.ConnectTimeout):
        return unreachable()
    if isinstance(error, httpx.TimeoutException | CallTimeout):
        return too_slow()
    if isinstance(error, httpx.LocalProtocolError):
        return Refused(Code.INVALID_REQUEST, "The request can't be passed on")
    return unreachable()
