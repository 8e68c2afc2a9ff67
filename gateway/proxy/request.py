"""A client's request: its id, its target, and the form in which it is forwarded. Read from ASGI's bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gateway.proxy.headers import (
    Fields,
    Framing,
    Sender,
    find,
    forwards_left,
    request_framing,
    with_forwards,
)
from gateway.proxy.responses import OptionsResponse
from gateway.proxy.target import LocalTarget, NoRouteError, TargetError, UpstreamTarget, resolve, split
from gateway.proxy.trusted_proxies import ForwardedClient
from protocols.http import REQUEST_ID, Code
from runtime.asgi import Scope
from runtime.serving import client_network
from runtime.serving.extensions import BODILESS, TARGET
from runtime.web.errors import ApiError
from runtime.web.request_log import request_id

_REQUEST_ID = REQUEST_ID.lower().encode()
_ID = re.compile(rb"/(?:[0-9]+|[0-9A-Fa-f-]{16,})(?=/|\Z)")


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """The page or route that a request is for.

    authority: of a target in absolute form, where it replaces the Host field; else None.
    """

    authority: bytes | None
    target: LocalTarget | UpstreamTarget


@dataclass(frozen=True, slots=True)
class ForwardableRequest:
    """A request in the form in which it is forwarded.

    target: on the request line to the service. awaits_continue: the client waits for 100 (Continue). client:
    its `client_network`. path: as the client sent it. prefix: the part of it that the service doesn't get.
    """

    method: str
    target: bytes
    fields: Fields
    framing: Framing
    sender: Sender
    awaits_continue: bool
    client: str
    path: bytes
    prefix: bytes = b""

    @property
    def route(self) -> tuple[str, bytes]:
        """The method and the path, with each number and id in it replaced by `*`."""
        return self.method, _ID.sub(b"/*", self.target.partition(b"?")[0])


def request_id_of(scope: Scope) -> bytes:
    """The request's id: the client's if it sent a valid one, else a new one."""
    given = find(scope["headers"], _REQUEST_ID)
    return request_id(given[0].decode("latin-1") if len(given) == 1 else None).encode()


def route_request(scope: Scope) -> ResolvedTarget | ApiError | OptionsResponse:
    """Find the page or route that a request is for, or the response if there is none (400, 404)."""
    if scope["method"] == "OPTIONS" and scope["raw_path"] == b"*":
        return OptionsResponse()
    if _is_ambiguous(scope["method"]):
        return ApiError(Code.INVALID_REQUEST, "Bad request: the method")
    try:
        authority, path, query = split(_target(scope))
        return ResolvedTarget(authority, resolve(path, query))
    except TargetError as error:
        return ApiError(Code.INVALID_REQUEST, f"Bad request: {error}")
    except NoRouteError:
        return not_found()


def not_found() -> ApiError:
    """The response if no page and no route has the path."""
    return ApiError(Code.NOT_FOUND, "Nothing is found at this path")


def _is_ambiguous(method: str) -> bool:
    """Whether a service and the gateway could disagree about the end of the response.

    CONNECT turns a connection into a tunnel. Some servers treat `head` as HEAD, and send a length without the
    body.
    """
    return method != "HEAD" and method.upper() in ("CONNECT", "HEAD")


def _target(scope: Scope) -> bytes:
    """The request's target. If the server doesn't provide its bytes, an empty query is lost."""
    target: bytes | None = _extensions(scope).get(TARGET)
    if target is None:
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    return target


def _extensions(scope: Scope) -> dict[str, Any]:
    extensions: dict[str, Any] = scope.get("extensions", {})
    return extensions


def parse_request(
    scope: Scope, target: UpstreamTarget, authority: bytes | None, client: ForwardedClient
) -> ForwardableRequest:
    """The request in the form in which it is forwarded. Raises ApiError if that would not be safe."""
    fields = scope["headers"]
    framing = request_framing(fields, scope["http_version"], bodiless=BODILESS in _extensions(scope))
    if (left := forwards_left(scope["method"], fields)) is not None:
        fields = with_forwards(fields, left - 1)
    return ForwardableRequest(
        scope["method"],
        target.request_target,
        fields,
        framing,
        _sender(scope, authority, client),
        not framing.empty and scope["http_version"] == "1.1" and bool(find(fields, b"expect")),
        client_network(client.address),
        scope["raw_path"],
        target.route.prefix if target.route.strip else b"",
    )


def _sender(scope: Scope, authority: bytes | None, client: ForwardedClient) -> Sender:
    hosts = find(scope["headers"], b"host")
    scheme = client.scheme or scope["scheme"]
    if authority is None:
        authority = hosts[0] if hosts else _own_host(scope)
    elif scheme != "https" and _target(scope)[:6].lower() == b"https:":
        # RFC 9110, 7.4: a resource of an https URL must not be served without TLS.
        raise ApiError(Code.INVALID_REQUEST, "An https URL was asked for without TLS", status=421)
    return Sender(client.address, scheme, authority, scope["http_version"], client.hops, client.host)


def _own_host(scope: Scope) -> bytes:
    host, port = scope.get("server") or ("localhost", None)
    return f"{host}:{port}".encode() if port else str(host).encode()
