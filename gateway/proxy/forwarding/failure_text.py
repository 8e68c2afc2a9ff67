"""Describes a failed call for operators: which route, which upstream, and why. Pure; quotes no client."""

from __future__ import annotations

import re

import httpx

from actors.call.classifier import kind_of
from gateway.metrics.request_metrics import METHODS
from gateway.metrics.route_names import OTHER, name_of_path
from gateway.proxy.request import ForwardableRequest
from gateway.upstream.upstream import Upstream

MAX_LENGTH = 200
_ADDRESS = re.compile(r" \(([^()\s]+)\)")
"""The address that a connection was tried to."""


def failure_text(upstream: Upstream, request: ForwardableRequest, cause: str | httpx.TransportError) -> str:
    """`METHOD /route · upstream: cause`, at most MAX_LENGTH characters.

    The path is cut to its route, since it may contain ids. cause: words, or the exception of the call.
    """
    method = request.method if request.method in METHODS else OTHER
    return f"{method} {name_of_path(request.path)} · {_met(upstream, cause)}"[:MAX_LENGTH]


def _met(upstream: Upstream, cause: str | httpx.TransportError) -> str:
    words = cause if isinstance(cause, str) else str(cause) or kind_of(cause)
    if not words.startswith(("http://", "https://")):
        return f"{_server(upstream)}: {words}"
    # Errors of connecting name the servers that were tried, and their addresses, which may be the same.
    return _ADDRESS.sub(lambda found: "" if f"//{found[1]}:" in words else found[0], words)


def _server(upstream: Upstream) -> str:
    """The service's URL; its name if it has several servers, as any of them may have answered."""
    if len(upstream.own_origins) > 1:
        return upstream.service.process
    url = httpx.URL(upstream.base_url)
    return f"{url.scheme}://{url.netloc.decode()}"
