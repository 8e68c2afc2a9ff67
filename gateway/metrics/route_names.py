"""The values of the label `route`: a fixed set, never a client's own text. Pure."""

from __future__ import annotations

from gateway.routes import OWN_PATHS, ROUTES, Route

OTHER = "other"
"""The route of a path that nothing is served at, and of a request that the server could not read."""


def _first_segment(path: bytes) -> str:
    return "/" + path.split(b"/", 2)[1].decode()


_PAGES = {path: _first_segment(path) for path in OWN_PATHS}
_PREFIXES = {route.prefix: route.prefix.decode() for route in ROUTES}
ROUTE_NAMES = (*_PREFIXES.values(), *sorted(set(_PAGES.values())), OTHER)
"""Every value of the label."""


def name_of_route(route: Route) -> str:
    """The label of a forwarded request."""
    return _PREFIXES[route.prefix]


def name_of_path(path: bytes) -> str:
    """The label of a forwarded request by its path, as the client sent it; OTHER if it begins differently."""
    return _PREFIXES.get(b"/" + path.split(b"/", 2)[1].partition(b"?")[0], OTHER) if b"/" in path else OTHER


def name_of_page(path: bytes) -> str:
    """The label of a page, by the first segment of its path. path: one that the gateway serves."""
    return _PAGES.get(path) or _first_segment(path)
