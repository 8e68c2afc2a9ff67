"""The ASGI side: which requests are carried to a service, and how every one of them ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog
import trio

from actors.messages import State
from gateway.proxy.access import Limits, authenticate
from gateway.proxy.cors import CorsPolicy
from gateway.proxy.forward import Ending, UpstreamAborted, UpstreamCall
from gateway.proxy.headers import Fields, find, forwards_left
from gateway.proxy.request import Inbound, ResolvedTarget, client_address, identify, locate, read
from gateway.proxy.request_body import DownstreamRequest
from gateway.proxy.responses import (
    Addressed,
    LocalResponse,
    ResponseWriter,
    max_forwards_response,
    too_large,
)
from gateway.proxy.target import LocalTarget, UpstreamTarget
from gateway.proxy.trusted_proxies import TrustedProxies
from gateway.upstream.upstream import Upstream
from protocols.http import Code
from runtime.asgi import App, Receive, Scope, Send
from runtime.auth import TokenVerifier
from runtime.observability import tracing
from runtime.observability.logging import loggable_path
from runtime.serving import extensions as asgi
from runtime.web.header_fields import is_websocket_handshake

log = structlog.get_logger("gateway")

GatewayReply = LocalResponse | Addressed
"""What the gateway answers in the place of a service."""


class Proxy:
    """Stands around the app that has the gateway's own pages, and carries all other requests itself.

    It works on ASGI's bytes: a framework's request object decodes paths and fields, and takes a body in
    faster than the upstream does.
    """

    def __init__(
        self,
        pages: App,
        upstreams: Mapping[str, Upstream],
        keys: TokenVerifier,
        limits: Limits,
        max_body_bytes: int,
        trust: TrustedProxies,
        cors: CorsPolicy,
    ) -> None:
        self._pages = pages
        self._upstreams = upstreams
        self._keys = keys
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._trust = trust
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Returning before the answer's end breaks the client's connection off."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        found = locate(scope)
        if isinstance(found, ResolvedTarget) and isinstance(found.place, LocalTarget):
            await self._pages(scope, receive, send)
            return
        started = time.monotonic()
        request_id = identify(scope)
        tracing.note_request(request_id.decode())
        extensions = scope.get("extensions", {})
        answer = ResponseWriter(
            send,
            request_id,
            informs=asgi.INFORMATIONAL in extensions,
            add_fields=self._cors_fields(scope) if self._cors.origins else None,
        )
        client = DownstreamRequest(receive, self._max_body_bytes, extensions)
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self._answer(scope, found, client, answer)
            _report(scope, found, client, answer, time.monotonic() - started)

    async def _answer(
        self,
        scope: Scope,
        found: ResolvedTarget | GatewayReply,
        client: DownstreamRequest,
        answer: ResponseWriter,
    ) -> None:
        """Answer the client, unless it leaves."""
        outcome: Ending | GatewayReply | None = None
        with client.scope:
            outcome = await self._outcome(scope, found, client, answer)
        if client.gone:
            return
        if client.too_large and answer.status is None:
            outcome = too_large(self._max_body_bytes)
        # Outside the scope: some servers report the client gone from within the final send, and that must not
        # cancel the send itself.
        if isinstance(outcome, LocalResponse):
            await answer.refuse(outcome)
        elif isinstance(outcome, Addressed):
            await answer.allow(outcome)
        elif outcome is not None:
            await answer.end(outcome.last, outcome.trailers)

    async def _outcome(
        self,
        scope: Scope,
        found: ResolvedTarget | GatewayReply,
        client: DownstreamRequest,
        answer: ResponseWriter,
    ) -> Ending | GatewayReply | None:
        """The end of a response passed on, or what to answer instead; None: it was broken off."""
        if not isinstance(found, ResolvedTarget):
            return found
        assert isinstance(found.place, UpstreamTarget)
        try:
            inbound = self._admit(scope, found.authority, found.place)
            upstream = self._upstreams[found.place.route.service.name]
            return await _carry(upstream, inbound, client, answer)
        except (LocalResponse, Addressed) as instead:
            return instead
        except UpstreamAborted as error:
            breaker = found.place.route.service.breaker
            log.warning(
                "the answer was broken off", path=loggable_path(scope), breaker=breaker, reason=str(error)
            )
        except Exception:
            log.exception("a request failed", path=loggable_path(scope))
            if answer.status is None:
                return LocalResponse(Code.INTERNAL_ERROR, "internal error")
        return None

    def _cors_fields(self, scope: Scope) -> Callable[[Fields], Fields]:
        return partial(self._cors.response_fields, find(scope["headers"], b"origin"))

    def _admit(self, scope: Scope, authority: bytes | None, place: UpstreamTarget) -> Inbound:
        """The request, if it may pass. Raises LocalResponse."""
        origin = self._trust.origin(client_address(scope), scope["headers"])
        self._limits.address(origin.address)
        if self._cors.is_preflight(scope["method"], scope["headers"]):
            raise Addressed(self._cors.preflight_fields(scope["headers"]))
        if is_websocket_handshake(scope["headers"]):
            fields = {"Upgrade": "HTTP/1.1"}
            raise LocalResponse(
                Code.INVALID_REQUEST, "WebSockets aren't served here", status=426, fields=fields
            )
        if forwards_left(scope["method"], scope["headers"]) == 0:
            raise max_forwards_response(scope["method"])
        inbound = read(scope, place, authority, origin)
        if place.route.bearer:
            self._limits.user(authenticate(self._keys, inbound.fields).user_id)
        if (inbound.framing.length or 0) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        return inbound


async def _carry(
    upstream: Upstream, inbound: Inbound, client: DownstreamRequest, answer: ResponseWriter
) -> Ending | GatewayReply:
    """Carry a request. A nursery is opened only where something goes on beside the call: it costs."""
    client.expect(inbound.framing, awaits_continue=inbound.awaits_continue)
    breaker = upstream.breaker_for(inbound.method, inbound.path)
    if client.is_watched and inbound.framing.empty and breaker.state is State.CLOSED:
        return await UpstreamCall(upstream, breaker, inbound, client, answer, None).run()
    async with trio.open_nursery() as nursery:
        if not client.is_watched and inbound.framing.empty:
            nursery.start_soon(client.watch)
        outcome: Ending | GatewayReply | Exception
        try:
            outcome = await UpstreamCall(upstream, breaker, inbound, client, answer, nursery).run()
        except (LocalResponse, UpstreamAborted) as error:
            outcome = error  # bare, not in a group of the nursery's
        nursery.cancel_scope.cancel()
    if isinstance(outcome, UpstreamAborted):
        raise outcome
    return outcome


def _report(
    scope: Scope,
    found: ResolvedTarget | GatewayReply,
    client: DownstreamRequest,
    answer: ResponseWriter,
    seconds: float,
) -> None:
    """The request's line in the log; the query isn't in it, nor is any field."""
    more = {} if answer.failure_origin is None else {"breaker": answer.failure_origin}
    if answer.refused is not None:
        more = {"error": answer.refused.code.value}
        if answer.refused.__cause__ is not None:
            more["reason"] = str(answer.refused.__cause__)
            if isinstance(found, ResolvedTarget) and isinstance(found.place, UpstreamTarget):
                more["breaker"] = found.place.route.service.breaker
    log.info(
        "request",
        method=scope["method"],
        path=loggable_path(scope),
        status=answer.status,
        client_left=client.gone and not answer.ended,
        duration_ms=round(seconds * 1000, 1),
        **more,
    )
