"""One request carried to its service and back, streamed both ways, under the service's breaker.

Only time spent waiting for the service counts for its breaker. docs/explanation/charging.md has the rules.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from functools import lru_cache

import httpx
import trio

from actors import CallRejected, CallTimeout, CircuitBreaker, CircuitOpenError, Source
from actors.call.guard import Guard
from actors.messages import RETRY_SOON, RejectReason, State
from gateway.proxy.charging import charge
from gateway.proxy.headers import (
    Fields,
    content_length,
    interim_fields,
    request_fields,
    response_fields,
    takes_trailers,
    trailer_fields,
)
from gateway.proxy.request import Inbound
from gateway.proxy.request_body import DownstreamRequest, RequestBodyStream
from gateway.proxy.responses import LocalResponse, ResponseWriter, breaker_rejection, refusal
from gateway.proxy.rewriting import below_prefix
from gateway.upstream.connection import LocalShortage
from gateway.upstream.pool import ResponseBody, UpstreamTransport
from gateway.upstream.upstream import Upstream
from runtime.serving.loop_time import StallWatch

PROBE_BODY_SECONDS = 1.0
"""How long the start of a body may take to arrive before its request may act as a probe."""
PROBE_CLIENT_SHARE = 0.25
"""How much of a probe's time it may then wait for its client; the rest is the upstream's."""
ANSWERED_SECONDS = 1.0
"""A probe whose body still streams so long after its head has answered."""
STALL_SECONDS = 1.0
"""An upstream may give up a response that we haven't read for so long, in all, because its client didn't.

In all, since an upstream may limit the time of the whole response: a client that never pauses for long can
exceed that too.
"""


class UpstreamAborted(Exception):
    """The response was cut when it had begun: the client's connection must not end cleanly."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The last piece of a response's body, and the fields behind it."""

    last: bytes
    trailers: Fields


class UpstreamCall:
    """Carries one request. nursery: outlives the call, for what goes on beside it; None if nothing does."""

    def __init__(
        self,
        upstream: Upstream,
        breaker: CircuitBreaker,
        inbound: Inbound,
        client: DownstreamRequest,
        answer: ResponseWriter,
        nursery: trio.Nursery | None,
    ) -> None:
        self._upstream = upstream
        self._breaker = breaker
        self._inbound = inbound
        self._client = client
        self._answer = answer
        self._nursery = nursery
        self._now = upstream.loop_time.now
        # On a host that was paused the services have stood still too: what they say is then of that.
        self._stall_watch = StallWatch(upstream.loop_time)
        self._limit = upstream.loop_time.limit(math.inf)
        self._body: RequestBodyStream | None = None
        self._unread = 0.0
        """Seconds in which the client has kept us from reading the response, in all."""

    async def run(self) -> Ending:
        """Answer the client, but for the last piece of the body and the trailers, which are returned.

        The breaker has counted the call by then: who sees the end of a response sees its consequences too.
        Raises LocalResponse where nothing was sent yet, else UpstreamAborted. Cancelling closes the upstream
        connection, and the breaker counts neither success nor failure.
        """
        try:
            ending = await self._guarded()
        except (CallRejected, CallTimeout, httpx.TransportError) as error:
            if isinstance(error, LocalShortage):
                self._upstream.overloads.note(error)
            if self._answer.status is not None:
                raise UpstreamAborted(str(error)) from error
            raise refusal(error) from error
        if ending is None:
            raise UpstreamAborted(f"silent for {self._upstream.idle_timeout:g} s in the middle of a response")
        return ending

    async def _guarded(self) -> Ending | None:
        """None: our own limit has ended a response that fell silent, which is no failure."""
        probes = await self._may_probe()
        source = Source(self._inbound.client, self._inbound.route) if probes else None
        async with self._breaker.guard(source=source) as call:
            with self._limit:
                self._limit.deadline = self._now() + self._head_seconds()
                try:
                    response = await self._head(call)
                except httpx.TransportError:
                    if self._stall_watch.was_mostly_stalled():
                        call.ignore()
                    raise
                try:
                    return await self._relay(call, response, probes=probes)
                finally:
                    await response.stream.aclose()  # type: ignore[union-attr]
            # Only the limit's end leads here.
            if self._answer.status is None:
                self._no_head()
            return None

    def _head_seconds(self) -> float:
        timeout = self._breaker.config.call_timeout
        return self._upstream.timeout if timeout is None else min(timeout, self._upstream.timeout)

    def _no_head(self) -> None:
        if self._body is not None and self._body.awaits_client:
            raise self._no_probe()
        raise httpx.ReadTimeout(f"no response within {self._head_seconds():g} s")

    async def _may_probe(self) -> bool:
        """Whether this request may be a probe. Raises LocalResponse if it may, but its client is slow.

        A probe's time is bounded: a client that trickles would hold it, and be taken for an outage.
        """
        breaker = self._breaker
        due = breaker.state is State.HALF_OPEN or breaker.retry_after == 0
        if not due or self._inbound.framing.empty:
            return due
        is_slow = not await self._client.body_buffered_within(PROBE_BODY_SECONDS)
        if is_slow and breaker.state is not State.CLOSED:
            raise self._no_probe()
        return due

    def _client_wait_budget(self) -> float:
        """Seconds that an admitted call may wait for its client."""
        most = self._breaker.config.probe_timeout
        if most is None or self._breaker.state is not State.HALF_OPEN:
            return math.inf
        return PROBE_CLIENT_SHARE * most

    def _no_probe(self) -> LocalResponse:
        breaker = self._breaker
        return breaker_rejection(
            CircuitOpenError(breaker.name, breaker.state, RETRY_SOON, RejectReason.PROBING)
        )

    async def _head(self, call: Guard) -> httpx.Response:
        """Send the request and wait for the response's head."""
        response = await self._upstream.transport.handle_async_request(self._request())
        call.lift_timeout()
        if self._body is not None:
            call.exclude(self._body.waited)
        return response

    def _request(self) -> httpx.Request:
        inbound, upstream = self._inbound, self._upstream
        target, seconds = inbound.target, self._head_seconds()
        fields = request_fields(
            inbound.fields,
            inbound.sender,
            inbound.framing,
            request_id=self._answer.request_id,
            # Less than our own, so that the service can give its reason before we give up.
            timeout_ms=int(seconds * 950),
            awaits_continue=inbound.awaits_continue,
            prefix=inbound.prefix,
        )
        extensions = {"target": target, "interim": self._interim}
        stream: httpx.AsyncByteStream = _NO_BODY
        if not inbound.framing.empty:
            budget = self._client_wait_budget()
            stream = self._body = RequestBodyStream(self._client, self._limit, self._now, seconds, budget)
            extensions["nursery"] = self._nursery
        request = httpx.Request(
            inbound.method, _url(upstream, target), headers=fields, stream=stream, extensions=extensions
        )
        # httpx makes it upper case; methods are case-sensitive.
        request.method = inbound.method
        return request

    async def _interim(self, status: int, fields: Fields) -> None:
        """RFC 9110, 15.2: a proxy passes 1xx responses on."""
        if status == 100:
            self._client.let_send()
            if not self._inbound.awaits_continue:
                return
        await self._answer.interim(status, interim_fields(fields))

    async def _relay(self, call: Guard, response: httpx.Response, *, probes: bool) -> Ending:
        body = response.stream
        assert isinstance(body, httpx.AsyncByteStream)
        status, fields = response.status_code, _lower_case_fields(response)
        upstream = self._upstream
        if status >= 500 and self._stall_watch.was_mostly_stalled():
            call.ignore()
        elif status >= 500:
            self._answer.failure_origin = charge(
                call,
                response,
                fields,
                origins=upstream.service.origins,
                handlers=upstream.handlers,
                client=self._inbound.client,
                now=self._now(),
            )
        elif probes and self._nursery is not None:
            self._nursery.start_soon(_answer_later, call)
        try:
            return await self._stream(call, status, fields, body)
        except httpx.TransportError as error:
            if self._unread >= STALL_SECONDS or self._stall_watch.was_mostly_stalled():
                # The upstream may have given up because we stopped reading.
                call.ignore()
            else:
                call.fail(f"{type(error).__name__}: {error}")
            raise

    async def _stream(self, call: Guard, status: int, fields: Fields, body: httpx.AsyncByteStream) -> Ending:
        """Pass on the head and the body as they arrive. What completes a declared length is returned."""
        left = content_length(fields)
        trailers = left is None and takes_trailers(self._inbound.fields, self._inbound.sender.version)
        kept = response_fields(fields, request_id=self._answer.request_id, trailers=trailers)
        if self._inbound.prefix:
            kept = below_prefix(kept, self._inbound.prefix, self._upstream.own_origins)
        await self._answer.head(status, kept, trailers=trailers)
        piece = body.buffered() if isinstance(body, ResponseBody) else b""
        if left is not None and left == len(piece):
            await anext(aiter(body), None)  # it has ended, so that its connection serves the next request
            return Ending(piece, [])
        if not piece:
            await self._to_client(call, self._answer.flush())
        pieces = aiter(body)
        while True:
            if piece:
                if left is not None:
                    left -= len(piece)
                if left == 0:
                    await self._next(pieces)
                    return Ending(piece, [])
                await self._to_client(call, self._answer.piece(piece))
            found = await self._next(pieces)
            if found is None:
                return Ending(b"", trailer_fields(body.trailers) if isinstance(body, ResponseBody) else [])
            piece = found

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        self._limit.deadline = self._now() + self._upstream.idle_timeout
        return await anext(pieces, None)

    async def _to_client(self, call: Guard, sending: Awaitable[None]) -> None:
        """Send to the client. Its slowness is neither the upstream's time nor a limit of ours."""
        start = self._now()
        self._limit.deadline = math.inf
        await sending
        waited = self._now() - start
        call.exclude(waited)
        self._unread += waited


async def _answer_later(call: Guard) -> None:
    """A probe that streams has passed, however long its client takes to read."""
    await trio.sleep(ANSWERED_SECONDS)
    call.answered()


def _url(upstream: Upstream, target: bytes) -> httpx.URL | str:
    """The request's URL; where the transport takes only the target, the same for all: parsing costs."""
    if isinstance(upstream.transport, UpstreamTransport):
        return _parsed(upstream.base_url)
    return upstream.base_url + target.decode("latin-1")


_parsed = lru_cache(maxsize=64)(httpx.URL)
_NO_BODY = httpx.ByteStream(b"")


def _lower_case_fields(response: httpx.Response) -> Fields:
    if isinstance(response.stream, ResponseBody):
        return response.stream.fields
    return [(name.lower(), value) for name, value in response.headers.raw]
