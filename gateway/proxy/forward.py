"""Forwards one request under its service's breaker, and streams both bodies.

The breaker counts only the time spent waiting for the service. docs/explanation/charging.md has the rules.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from functools import lru_cache

import httpx
import trio

from actors import CallRejected, CallTimeout, CircuitBreaker, Source
from actors.call.guard import Guard
from gateway.proxy.forwarding.charging import charge
from gateway.proxy.forwarding.failure_text import failure_text
from gateway.proxy.forwarding.probing import client_wait_budget, may_probe, probing_rejection, succeed_later
from gateway.proxy.forwarding.rewriting import below_prefix
from gateway.proxy.headers import (
    Fields,
    content_length,
    find,
    interim_fields,
    request_fields,
    response_fields,
    takes_trailers,
    trailer_fields,
)
from gateway.proxy.request import ForwardableRequest
from gateway.proxy.request_body import DownstreamRequest, RequestBodyStream
from gateway.proxy.responses import ResponseWriter, error_response
from gateway.upstream.breakers import counts_as_failure
from gateway.upstream.connection import LocalShortage
from gateway.upstream.pool import ResponseBody, UpstreamTransport
from gateway.upstream.upstream import Upstream
from runtime.serving.loop_time import StallWatch

STALL_SECONDS = 1.0
"""If the client has kept the gateway from reading a response for this many seconds in total, an abort of the
response is not the upstream's failure.

The total counts, since an upstream may limit the time of a whole response: many short pauses of the client
can exceed that too.
"""


class UpstreamAborted(Exception):
    """The response was aborted after its head: the client's connection must not end cleanly."""


@dataclass(frozen=True, slots=True)
class ResponseEnd:
    """The last piece of a response's body, and its trailers."""

    last: bytes
    trailers: Fields


class UpstreamCall:
    """Forwards one request.

    nursery: for tasks that run beside the call, such as sending the body; None if there are none.
    """

    def __init__(
        self,
        upstream: Upstream,
        breaker: CircuitBreaker,
        request: ForwardableRequest,
        downstream: DownstreamRequest,
        writer: ResponseWriter,
        nursery: trio.Nursery | None,
    ) -> None:
        self._upstream = upstream
        self._breaker = breaker
        self._request = request
        self._downstream = downstream
        self._writer = writer
        self._nursery = nursery
        self._now = upstream.loop_time.now
        # While the host was paused, the services were paused too: a failure may be a consequence of that.
        self._stall_watch = StallWatch(upstream.loop_time)
        self._limit = upstream.loop_time.limit(math.inf)
        self._body: RequestBodyStream | None = None
        self._stalled_seconds = 0.0
        """Seconds in which the client has kept the gateway from reading the response, in total."""

    async def run(self) -> ResponseEnd:
        """Forward the request, and the response but for its last piece and trailers, which are returned.

        The breaker has counted the call when this returns: a client that has seen the end of a response sees
        its effect on the breaker too. Raises ApiError if no response was begun, else UpstreamAborted.
        Cancelling closes the upstream connection; the breaker then counts neither success nor failure.
        """
        try:
            ending = await self._guarded()
        except (CallRejected, CallTimeout, httpx.TransportError) as error:
            if isinstance(error, LocalShortage):
                self._upstream.overloads.note(error)
            if self._writer.status is not None:
                raise UpstreamAborted(str(error)) from error
            raise error_response(error) from error
        if ending is None:
            raise UpstreamAborted(f"silent for {self._upstream.idle_timeout:g} s in the middle of a response")
        return ending

    async def _guarded(self) -> ResponseEnd | None:
        """Make the call under the breaker.

        Returns None if the idle limit has ended a response, which is not a failure.
        """
        probes = await may_probe(self._breaker, self._downstream, has_body=not self._request.framing.empty)
        source = Source(self._request.client, self._request.route) if probes else None
        async with self._breaker.guard(source=source) as call:
            with self._limit:
                self._limit.deadline = self._now() + self._head_seconds()
                try:
                    response = await self._head(call)
                except httpx.TransportError as error:
                    if self._stall_watch.was_mostly_stalled():
                        call.ignore()
                    elif counts_as_failure(error):
                        # The policy would count it too, but with its class alone as the reason.
                        call.fail(self._described(error))
                    raise
                try:
                    return await self._relay(call, response, probes=probes)
                finally:
                    await response.stream.aclose()  # type: ignore[union-attr]
            # The limit has expired.
            if self._writer.status is None:
                self._raise_no_head(call)
            return None

    def _head_seconds(self) -> float:
        timeout = self._breaker.config.call_timeout
        return self._upstream.timeout if timeout is None else min(timeout, self._upstream.timeout)

    def _described(self, cause: str | httpx.TransportError) -> str:
        return failure_text(self._upstream, self._request, cause)

    def _raise_no_head(self, call: Guard) -> None:
        if self._body is not None and self._body.awaits_client:
            raise probing_rejection(self._breaker)
        error = httpx.ReadTimeout(f"no response within {self._head_seconds():g} s")
        call.fail(self._described(error))
        raise error

    async def _head(self, call: Guard) -> httpx.Response:
        """Send the request and wait for the response's head."""
        response = await self._upstream.transport.handle_async_request(self._upstream_request())
        call.lift_timeout()
        if self._body is not None:
            call.exclude(self._body.waited)
        return response

    def _upstream_request(self) -> httpx.Request:
        inbound, upstream = self._request, self._upstream
        target, seconds = inbound.target, self._head_seconds()
        fields = request_fields(
            inbound.fields,
            inbound.sender,
            inbound.framing,
            request_id=self._writer.request_id,
            # Less than the gateway's own timeout, so that the service can report its reason in time.
            timeout_ms=int(seconds * 950),
            awaits_continue=inbound.awaits_continue,
            prefix=inbound.prefix,
        )
        extensions = {"target": target, "interim": self._interim}
        stream: httpx.AsyncByteStream = _NO_BODY
        if not inbound.framing.empty:
            budget = client_wait_budget(self._breaker)
            stream = self._body = RequestBodyStream(self._downstream, self._limit, self._now, seconds, budget)
            extensions["nursery"] = self._nursery
        request = httpx.Request(
            inbound.method, _url(upstream, target), headers=fields, stream=stream, extensions=extensions
        )
        # httpx converts it to upper case, but methods are case-sensitive.
        request.method = inbound.method
        return request

    async def _interim(self, status: int, fields: Fields) -> None:
        """Forward a 1xx response (RFC 9110, 15.2)."""
        if status == 100:
            self._downstream.allow_body()
            if not self._request.awaits_continue:
                return
        await self._writer.interim(status, interim_fields(fields))

    async def _relay(self, call: Guard, response: httpx.Response, *, probes: bool) -> ResponseEnd:
        body = response.stream
        assert isinstance(body, httpx.AsyncByteStream)
        status, fields = response.status_code, _lower_case_fields(response)
        upstream = self._upstream
        if status >= 500 and self._stall_watch.was_mostly_stalled():
            call.ignore()
        elif status >= 500:
            self._writer.failure_origin = charge(
                call,
                response,
                fields,
                origins=upstream.service.origins,
                handlers=upstream.handlers,
                client=self._request.client,
                now=self._now(),
                describe=self._described,
            )
            is_origin = self._writer.failure_origin is not None
            self._writer.is_rejection_behind = is_origin and bool(find(fields, b"retry-after"))
        elif probes and self._nursery is not None:
            self._nursery.start_soon(succeed_later, call)
        try:
            return await self._stream(call, status, fields, body)
        except httpx.TransportError as error:
            if self._stalled_seconds >= STALL_SECONDS or self._stall_watch.was_mostly_stalled():
                # The upstream may have aborted the response because the gateway had stopped reading.
                call.ignore()
            else:
                call.fail(self._described(error))
            raise

    async def _stream(
        self, call: Guard, status: int, fields: Fields, body: httpx.AsyncByteStream
    ) -> ResponseEnd:
        """Forward the head and the body as they arrive, but for the last piece."""
        left = content_length(fields)
        trailers = left is None and takes_trailers(self._request.fields, self._request.sender.version)
        kept = response_fields(fields, request_id=self._writer.request_id, trailers=trailers)
        if self._request.prefix:
            kept = below_prefix(kept, self._request.prefix, self._upstream.own_origins)
        await self._writer.head(status, kept, trailers=trailers)
        piece = body.buffered() if isinstance(body, ResponseBody) else b""
        if left is not None and left == len(piece):
            await anext(aiter(body), None)  # reads the end, so that the connection can be reused
            return ResponseEnd(piece, [])
        if not piece:
            await self._to_client(call, self._writer.flush())
        pieces = aiter(body)
        while True:
            if piece:
                if left is not None:
                    left -= len(piece)
                if left == 0:
                    await self._next(pieces)
                    return ResponseEnd(piece, [])
                await self._to_client(call, self._writer.piece(piece))
            found = await self._next(pieces)
            if found is None:
                trailer = trailer_fields(body.trailers) if isinstance(body, ResponseBody) else []
                return ResponseEnd(b"", trailer)
            piece = found

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        self._limit.deadline = self._now() + self._upstream.idle_timeout
        return await anext(pieces, None)

    async def _to_client(self, call: Guard, sending: Awaitable[None]) -> None:
        """Send to the client. The time counts neither as the upstream's nor towards the limit."""
        start = self._now()
        self._limit.deadline = math.inf
        await sending
        waited = self._now() - start
        call.exclude(waited)
        self._stalled_seconds += waited


def _url(upstream: Upstream, target: bytes) -> httpx.URL | str:
    """The request's URL. An UpstreamTransport ignores its path, so one parsed URL serves all requests."""
    if isinstance(upstream.transport, UpstreamTransport):
        return _parsed(upstream.base_url)
    return upstream.base_url + target.decode("latin-1")


_parsed = lru_cache(maxsize=64)(httpx.URL)
_NO_BODY = httpx.ByteStream(b"")


def _lower_case_fields(response: httpx.Response) -> Fields:
    if isinstance(response.stream, ResponseBody):
        return response.stream.fields
    return [(name.lower(), value) for name, value in response.headers.raw]
