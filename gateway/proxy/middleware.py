"""The ASGI middleware that forwards requests to the services, and completes and logs every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import structlog
import trio

from actors.messages import State
from gateway.metrics.request_metrics import MeasuredRequest, RequestMetrics
from gateway.proxy.access import RateLimiter, authenticate
from gateway.proxy.cors import CorsPolicy
from gateway.proxy.forward import ResponseEnd, UpstreamAborted, UpstreamCall
from gateway.proxy.headers import Fields, find, forwards_left
from gateway.proxy.pages_gate import count_page, serve_page
from gateway.proxy.port_role import PortRole
from gateway.proxy.request import (
    ForwardableRequest,
    ResolvedTarget,
    not_found,
    parse_request,
    request_id_of,
    route_request,
)
from gateway.proxy.request_body import DownstreamRequest
from gateway.proxy.responses import (
    OptionsResponse,
    ResponseWriter,
    max_forwards_response,
    too_large,
)
from gateway.proxy.target import LocalTarget, UpstreamTarget, route_name
from gateway.proxy.trusted_proxies import ForwardedClient, TrustedProxies
from gateway.upstream.upstream import Upstream
from protocols.http import Code
from runtime.asgi import App, Receive, Scope, Send
from runtime.auth import TokenError, TokenVerifier
from runtime.header_fields import is_websocket_handshake
from runtime.observability import tracing
from runtime.observability.redaction import loggable_path
from runtime.observability.sampling import RejectionSampler
from runtime.serving import extensions as asgi
from runtime.web.errors import ApiError

log = structlog.get_logger("gateway")

GatewayResponse = ApiError | OptionsResponse
"""A response of the gateway's own."""


class ProxyMiddleware:
    """Wraps the app with the gateway's own pages, and forwards all other requests.

    It works on ASGI's bytes: a web framework's request object would decode paths and fields, and would
    receive a body faster than the upstream takes it. upstreams: by the service's name. port: what the port is
    for whose requests this serves.
    """

    def __init__(
        self,
        pages: App,
        upstreams: Mapping[str, Upstream],
        keys: TokenVerifier,
        limiter: RateLimiter,
        max_body_bytes: int,
        trusted_proxies: TrustedProxies,
        cors: CorsPolicy,
        metrics: RequestMetrics,
        port: PortRole = PortRole.ALL,
    ) -> None:
        self._pages = pages
        self._upstreams = upstreams
        self._keys = keys
        self._limiter = limiter
        self._max_body_bytes = max_body_bytes
        self._trusted_proxies = trusted_proxies
        self._cors = cors
        self._metrics = metrics
        self._port = port
        self._sampler = RejectionSampler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Returning before the response has ended aborts the client's connection."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        destination = self._destination(scope)
        target = destination.target if isinstance(destination, ResolvedTarget) else None
        measured = self._metrics.begin(route_name(target), scope["method"])
        if isinstance(target, LocalTarget):
            try:
                count_page(self._limiter, self._client(scope).address, target.path)
            except ApiError as refusal:
                destination = refusal
            else:
                await serve_page(self._pages, scope, receive, send, measured)
                return
        request_id = request_id_of(scope)
        tracing.note_request(request_id.decode())
        extensions = scope.get("extensions", {})
        writer = ResponseWriter(
            send,
            request_id,
            sends_interim=asgi.INFORMATIONAL in extensions,
            add_fields=self._cors_fields(scope) if self._cors.origins else None,
        )
        downstream = DownstreamRequest(receive, self._max_body_bytes, extensions)
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            try:
                await self._respond(scope, destination, downstream, writer, measured)
            finally:
                measured.end(writer.status)
            self._log(scope, destination, downstream, writer, measured.seconds)

    def _destination(self, scope: Scope) -> ResolvedTarget | GatewayResponse:
        """The page or route that a request is for, as far as this port serves it."""
        destination = route_request(scope)
        if isinstance(destination, ResolvedTarget) and not self._port.serves(destination.target):
            return not_found()
        return destination

    async def _respond(
        self,
        scope: Scope,
        destination: ResolvedTarget | GatewayResponse,
        downstream: DownstreamRequest,
        writer: ResponseWriter,
        measured: MeasuredRequest,
    ) -> None:
        """Send the response, unless the client disconnects."""
        outcome: ResponseEnd | GatewayResponse | None = None
        with downstream.scope:
            outcome = await self._outcome(scope, destination, downstream, writer)
        if downstream.has_left:
            return
        if downstream.too_large and writer.status is None:
            outcome = too_large(self._max_body_bytes)
        # Outside the scope: some servers report the disconnect from within the final send, and that must not
        # cancel the send itself.
        if isinstance(outcome, ApiError):
            measured.end(outcome.status, outcome.code.value)
            await writer.send_error(outcome)
        elif isinstance(outcome, OptionsResponse):
            measured.end(204)
            await writer.send_options(outcome)
        elif outcome is not None:
            measured.end(writer.status)
            await writer.end(outcome.last, outcome.trailers)

    async def _outcome(
        self,
        scope: Scope,
        destination: ResolvedTarget | GatewayResponse,
        downstream: DownstreamRequest,
        writer: ResponseWriter,
    ) -> ResponseEnd | GatewayResponse | None:
        """The end of a forwarded response, or the gateway's own; None if the response was aborted."""
        if not isinstance(destination, ResolvedTarget):
            return destination
        target = destination.target
        assert isinstance(target, UpstreamTarget)
        try:
            request = self._admit(scope, destination.authority, target)
            upstream = self._upstreams[target.route.service.name]
            return await _forward(upstream, request, downstream, writer)
        except (ApiError, OptionsResponse) as response:
            return response
        except UpstreamAborted as error:
            breaker = target.route.service.breaker
            log.warning(
                "a response was aborted", path=loggable_path(scope), breaker=breaker, reason=str(error)
            )
        except Exception:
            log.exception("a request failed", path=loggable_path(scope))
            if writer.status is None:
                return ApiError(Code.INTERNAL_ERROR, "internal error")
        return None

    def _log(
        self,
        scope: Scope,
        destination: ResolvedTarget | GatewayResponse,
        downstream: DownstreamRequest,
        writer: ResponseWriter,
        seconds: float,
    ) -> None:
        """Log the request, without its query and its fields. Rejections by a breaker are sampled."""
        more = _error_fields(destination, writer)
        sampled = {**more, "rejected": "behind"} if writer.is_rejection_behind else more
        if self._sampler.admits(sampled):
            log.info(
                "request",
                method=scope["method"],
                path=loggable_path(scope),
                status=writer.status,
                client_left=downstream.has_left and not writer.ended,
                duration_ms=round(seconds * 1000, 1),
                **more,
            )

    def _client(self, scope: Scope) -> ForwardedClient:
        return self._trusted_proxies.client_of(scope)

    def _cors_fields(self, scope: Scope) -> Callable[[Fields], Fields]:
        return partial(self._cors.response_fields, find(scope["headers"], b"origin"))

    def _admit(self, scope: Scope, authority: bytes | None, target: UpstreamTarget) -> ForwardableRequest:
        """Check a request and return it as it is to be forwarded. Raises ApiError or OptionsResponse."""
        client = self._client(scope)
        self._limiter.count_address(client.address)
        if self._cors.is_preflight(scope["method"], scope["headers"]):
            raise OptionsResponse(self._cors.preflight_fields(scope["headers"]))
        if is_websocket_handshake(scope["headers"]):
            fields = {"Upgrade": "HTTP/1.1"}
            raise ApiError(Code.INVALID_REQUEST, "WebSockets aren't served here", status=426, fields=fields)
        if forwards_left(scope["method"], scope["headers"]) == 0:
            raise max_forwards_response(scope["method"])
        request = parse_request(scope, target, authority, client)
        if target.route.bearer:
            self._limiter.count_user(authenticate(self._keys, request.fields).user_id)
        if (request.framing.length or 0) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        return request


async def _forward(
    upstream: Upstream, request: ForwardableRequest, downstream: DownstreamRequest, writer: ResponseWriter
) -> ResponseEnd | GatewayResponse:
    """Forward a request. A nursery is opened only if another task must run beside the call: it costs time."""
    downstream.expect(request.framing, awaits_continue=request.awaits_continue)
    breaker = upstream.breaker_for(request.method, request.path)
    if downstream.is_watched and request.framing.empty and breaker.state is State.CLOSED:
        return await UpstreamCall(upstream, breaker, request, downstream, writer, None).run()
    async with trio.open_nursery() as nursery:
        if not downstream.is_watched and request.framing.empty:
            nursery.start_soon(downstream.watch)
        outcome: ResponseEnd | GatewayResponse | Exception
        try:
            outcome = await UpstreamCall(upstream, breaker, request, downstream, writer, nursery).run()
        except (ApiError, UpstreamAborted) as error:
            outcome = error  # returned, since the nursery would wrap it in a group
        nursery.cancel_scope.cancel()
    if isinstance(outcome, UpstreamAborted):
        raise outcome
    return outcome


def _error_fields(destination: ResolvedTarget | GatewayResponse, writer: ResponseWriter) -> dict[str, str]:
    """The fields of a request's line that say what failed, and which breaker has counted it."""
    if writer.error is None:
        return {} if writer.failure_origin is None else {"breaker": writer.failure_origin}
    more = writer.error.log_fields()
    cause = writer.error.__cause__
    # A token is checked before the breaker is consulted.
    is_from_upstream = cause is not None and not isinstance(cause, TokenError)
    if is_from_upstream and isinstance(destination, ResolvedTarget):
        assert isinstance(destination.target, UpstreamTarget)
        # The cause is more precise than the message that the client reads.
        more |= {"reason": str(cause), "breaker": destination.target.route.service.breaker}
    return more
