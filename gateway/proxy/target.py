"""Resolves a request's target to a route, and to the target that the service gets. Pure.

Nothing is decoded, normalised or added: the service gets the target byte for byte, or it is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.metrics.route_names import OTHER, name_of_page, name_of_route
from gateway.routes import OWN_FOLDERS, OWN_PATHS, ROUTES, Route
from runtime.header_fields import HOST

_AUTHORITY = re.compile(rb"(?!:|\Z)" + HOST)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/]*)(.*)", re.DOTALL)
_SEPARATORS = re.compile(rb"[/\\]")
_ENDS_A_NAME = re.compile(rb"[;?#]")
_BLANK = b"\0\t\n\v\f\r "
_SERVICE_PAGES = frozenset((b"health", b"livez", b"readyz", b"metrics", b"openapi.json"))
_SERVICE_FOLDERS = (b"admin", b"breakers", b"docs")
"""Every path that starts with one of these."""
_DECODINGS = 3
"""Times that a path is decoded: more often than any service does."""


class TargetError(ValueError):
    """HTTP doesn't allow this target."""


class NoRouteError(LookupError):
    """No route and no page has this path."""


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """One of the gateway's own pages."""

    path: bytes


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """A path of a service. request_target: the target in the request that the service gets."""

    route: Route
    request_target: bytes


def route_name(target: LocalTarget | UpstreamTarget | None) -> str:
    """The request's route in metrics. None: nothing has the path."""
    if target is None:
        return OTHER
    return name_of_page(target.path) if isinstance(target, LocalTarget) else name_of_route(target.route)


def split(target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """Split a target into its authority (None unless in absolute form), its path, and its query with the `?`.

    Raises TargetError.
    """
    if b"#" in target:
        raise TargetError("the target has a fragment")
    raw_path, mark, query = target.partition(b"?")
    if raw_path.startswith(b"/"):
        return None, raw_path, mark + query
    absolute = _ABSOLUTE.fullmatch(raw_path)
    if absolute is None or not _AUTHORITY.fullmatch(absolute[1]):
        raise TargetError("the target is neither a path nor a URL")
    return absolute[1], absolute[2] or b"/", mark + query


def resolve(path: bytes, query: bytes) -> LocalTarget | UpstreamTarget:
    """Find the page or the route of a path. query: with its `?`.

    Raises NoRouteError: also for a service's own pages, and for every path that some decoder could resolve to
    one outside its prefix.
    """
    if _has_dot_segment(path):
        raise NoRouteError(path)
    if path in OWN_PATHS or path.startswith(OWN_FOLDERS):
        return LocalTarget(path)
    for route in ROUTES:
        if path.startswith(route.prefix + b"/") or (route.exact and path == route.prefix):
            below = path[len(route.prefix) :] if route.strip else path
            if route.strip and _is_service_page(below):
                raise NoRouteError(path)
            return UpstreamTarget(route, below + query)
    raise NoRouteError(path)


def _is_service_page(path: bytes) -> bool:
    """Whether a service could take the path for one of its own pages, which clients may not reach.

    The path is decoded repeatedly, and each segment is cut at every character that some server ends it at.
    """
    for _ in range(_DECODINGS):
        path = unquote_to_bytes(path)
    if unquote_to_bytes(path) != path:
        return True
    for segment in _SEPARATORS.split(path.lower()):
        name = _ENDS_A_NAME.split(segment, maxsplit=1)[0].strip(_BLANK)
        if name.strip(b"."):
            return name in _SERVICE_PAGES or name.startswith(_SERVICE_FOLDERS)
    return False


def _has_dot_segment(path: bytes) -> bool:
    """Whether any segment is `.` or `..`, encoded or not.

    An encoded slash ends a segment too; and some servers cut a segment at its first semicolon.
    """
    if b"." not in path and b"%" not in path:
        return False
    segments = _SEPARATORS.split(unquote_to_bytes(path))
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)
