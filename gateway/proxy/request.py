"""A request as the client sent it, read from ASGI's bytes."""

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
from gateway.proxy.responses import Addressed, LocalResponse
from gateway.proxy.target import LocalTarget, NoRouteError, TargetError, UpstreamTarget, resolve, split
from gateway.proxy.trusted_proxies import Origin
from protocols.http import REQUEST_ID, Code
from runtime.asgi import Scope
from runtime.serving import client_network
from runtime.serving.extensions import BODILESS, TARGET
from runtime.web.request_log import request_id

_REQUEST_ID = REQUEST_ID.lower().encode()
_ID = re.compile(rb"/(?:[0-9]+|[0-9A-Fa-f-]{16,})(?=/|\Z)")


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """Whose a request is. authority: what the target says in place of the Host field, mostly None."""

    authority: bytes | None
    place: LocalTarget | UpstreamTarget


@dataclass(frozen=True, slots=True)
class Inbound:
    """What is passed on of a request.

    held_back: the client waits for 100 (Continue). client: whom it is from, as `client_network` tells clients
    apart. path: as the client sent it. prefix: what of it the service doesn't see.
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
        """Method and path, with numbers and ids in it made alike."""
        return self.method, _ID.sub(b"/*", self.target.partition(b"?")[0])


def identify(scope: Scope) -> bytes:
    """The request's id: the client's where it gave one that can be used, else a new one."""
    given = find(scope["headers"], _REQUEST_ID)
    return request_id(given[0].decode("latin-1") if len(given) == 1 else None).encode()


def locate(scope: Scope) -> ResolvedTarget | LocalResponse | Addressed:
    """Whose the request is, or why it is nobody's (400, 404)."""
    if scope["method"] == "OPTIONS" and scope["raw_path"] == b"*":
        return Addressed()
    if _misleads(scope["method"]):
        return LocalResponse(Code.INVALID_REQUEST, "Bad request: the method")
    try:
        authority, path, query = split(_target(scope))
        return ResolvedTarget(authority, resolve(path, query))
    except TargetError as error:
        return LocalResponse(Code.INVALID_REQUEST, f"Bad request: {error}")
    except NoRouteError:
        return LocalResponse(Code.NOT_FOUND, "Nothing is found at this path")


def _misleads(method: str) -> bool:
    """Whether a service could see another end of its answer than we do.

    CONNECT makes a tunnel of a connection; and a server that takes `head` for HEAD, as some do, sends a
    length without its body.
    """
    return method != "HEAD" and method.upper() in ("CONNECT", "HEAD")


def _target(scope: Scope) -> bytes:
    """The request's target. Only where the server doesn't give its bytes, an empty query is lost."""
    target: bytes | None = _extensions(scope).get(TARGET)
    if target is None:
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    return target


def _extensions(scope: Scope) -> dict[str, Any]:
    extensions: dict[str, Any] = scope.get("extensions", {})
    return extensions


def read(scope: Scope, place: UpstreamTarget, authority: bytes | None, origin: Origin) -> Inbound:
    """The request as it is passed on. Raises LocalResponse (400) where that would not be safe."""
    fields = scope["headers"]
    framing = request_framing(fields, scope["http_version"], bodiless=BODILESS in _extensions(scope))
    if (left := forwards_left(scope["method"], fields)) is not None:
        fields = with_forwards(fields, left - 1)
    awaits_continue = not framing.empty and scope["http_version"] == "1.1" and bool(find(fields, b"expect"))
    sender = _sender(scope, authority, origin)
    client = client_network(origin.address)
    prefix = place.route.prefix if place.route.strip else b""
    path = scope["raw_path"]
    return Inbound(
        scope["method"], place.target, fields, framing, sender, awaits_continue, client, path, prefix
    )


def client_address(scope: Scope) -> str:
    """The address at the other end of the connection."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def _sender(scope: Scope, authority: bytes | None, origin: Origin) -> Sender:
    hosts = find(scope["headers"], b"host")
    scheme = origin.scheme or scope["scheme"]
    if authority is None:
        authority = hosts[0] if hosts else _own_host(scope)
    elif scheme != "https" and _target(scope)[:6].lower() == b"https:":
        # RFC 9110, 7.4: what is only there for TLS isn't given without it.
        raise LocalResponse(Code.INVALID_REQUEST, "An https URL was asked for without TLS", status=421)
    return Sender(origin.address, scheme, authority, scope["http_version"], origin.hops, origin.host)


def _own_host(scope: Scope) -> bytes:
    host, port = scope.get("server") or ("localhost", None)
    return f"{host}:{port}".encode() if port else str(host).encode()
