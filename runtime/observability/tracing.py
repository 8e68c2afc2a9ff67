"""Traces, off unless OpenTelemetry's own environment variables ask for them.

Off means that nothing stands in the way: each `traced_…` returns what it is given, and OpenTelemetry isn't
even imported. So this has to be decided before an app is made. Spans leave the process from a thread of
their own, through a queue that is bounded: a collector that is slow, hung or gone costs spans, nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from actors import CircuitBreaker

if TYPE_CHECKING:
    import httpx
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer
    from quart_trio import QuartTrio

AppT = TypeVar("AppT")

LAST_SECONDS = 1.0
"""How long a process that ends waits for its last spans to be taken."""
# As the SDK reads them: what is said of traces goes before what is said of everything, and empty is unset.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")

_HEADER = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ \t!#-+\--:<-\[\]-~]*")
"""What the SDK takes for a header; anything else it would write into the log."""


class BadTelemetry(Exception):
    """A variable has a value that can't be used; str() names it."""


class _Switch:
    """The one thing about tracing that is of the whole process, as logging is."""

    provider: TracerProvider | None = None


@contextmanager
def tracing(process: str, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Around a whole process: on where the environment says so, and off again at its end.

    A bad value ends the process with 2 and is named. The end waits LAST_SECONDS at most.
    """
    try:
        if wanted(environment):
            use(_provider(process, environment))
    except BadTelemetry as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    try:
        yield
    finally:
        stop()


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether spans shall be sent. Raises BadTelemetry."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "none", "otlp"):
        raise _bad("OTEL_TRACES_EXPORTER", "should be otlp or none", exporter)
    endpoint = _first(environment, ENDPOINTS)
    if exporter == "none" or not (exporter or endpoint):
        return False
    if endpoint and not _is_url(environment[endpoint]):
        # No value: what isn't a URL has no part of which we know that it isn't secret.
        raise BadTelemetry(
            f"setting {endpoint}: should be http://HOST:PORT or https://HOST:PORT, without a query; "
            f"what a collector is to know of us belongs into {HEADERS[1]}"
        )
    protocol = _first(environment, PROTOCOLS)
    if protocol and environment[protocol] != "http/protobuf":
        raise _bad(protocol, "should be http/protobuf", environment[protocol])
    headers = _first(environment, HEADERS)
    if headers and not _are_headers(environment[headers]):
        raise BadTelemetry(f"setting {headers}: should be NAME=VALUE, separated by commas")
    return True


def _first(environment: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of the names that is set."""
    return next((name for name in names if environment.get(name)), None)


def _is_url(value: str) -> bool:
    """Whether spans can be sent there. Not with a query: the exporter logs it while nobody answers."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query


def _are_headers(value: str) -> bool:
    return all(_HEADER.fullmatch(one.strip()) for one in value.split(",") if one.strip())


def _bad(name: str, reason: str, value: str) -> BadTelemetry:
    return BadTelemetry(f"setting {name}: {reason} (got {value!r})")


def _provider(process: str, environment: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = environment.get("OTEL_SERVICE_NAME") or process
    try:
        # At the end of a process the SDK would wait for its collector much longer than we may take.
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise BadTelemetry(f"settings OTEL_…: {error}") from error
    return provider


def use(provider: TracerProvider | None) -> None:
    """Send the spans of whatever is made from now on to `provider`; None: off."""
    _Switch.provider = provider


def is_on() -> bool:
    """Whether spans are made."""
    return _Switch.provider is not None


def tracer() -> Tracer:
    """What makes this process's spans. Only where tracing is on."""
    assert _Switch.provider is not None
    return _Switch.provider.get_tracer("trio-breakers")


def stop(seconds: float = LAST_SECONDS) -> None:
    """Switch off, and wait at most `seconds` for the last spans to be taken."""
    provider = _Switch.provider
    if provider is None:
        return
    use(None)
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(seconds)


def traced_breaker(breaker: CircuitBreaker) -> CircuitBreaker:
    """The breaker, with its calls as spans and its decisions as their events."""
    if not is_on():
        return breaker
    from actors.adapters.tracing import traced

    return traced(breaker, tracer())


def traced_app(app: AppT, prefixes: Collection[str] = ()) -> AppT:
    """The ASGI app, with each request as a span; `prefixes`: paths below which it is named by them."""
    if not is_on():
        return app
    from runtime.observability.spans import TracedApp

    return TracedApp(app, tracer(), prefixes)  # type: ignore[return-value, arg-type]  # an ASGI app, too


def trace_requests(app: QuartTrio) -> None:
    """Make each request to the app a span, named after its route."""
    if not is_on():
        return
    from runtime.observability.spans import name_by_route

    app.asgi_app = traced_app(app.asgi_app)  # type: ignore[method-assign]
    app.before_request(name_by_route)


def note_request(request_id: str) -> None:
    """Put the request's id on the current span, before anything can end the request."""
    if is_on():
        from runtime.observability.spans import note_request_id

        note_request_id(request_id)


def traced_transport(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """The transport, which tells the other side which span a request belongs to."""
    if not is_on():
        return transport
    from runtime.observability.spans import CarryingTransport

    return CarryingTransport(transport)


def exemplar_labels() -> Callable[[], Mapping[str, str] | None] | None:
    """What `open_panel(exemplar=…)` wants: the ids of the trace that a call is part of."""
    if not is_on():
        return None
    from runtime.observability.spans import current_ids

    return current_ids
