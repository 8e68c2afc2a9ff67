"""Traces, off unless OpenTelemetry's environment variables enable them.

When off, tracing costs nothing: each `traced_…` returns its argument, and OpenTelemetry isn't imported. So
this is decided before an app is made. A thread exports the spans from a bounded queue: a slow, hung or
missing collector loses spans and delays nothing.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from actors import CircuitBreaker

if TYPE_CHECKING:
    import httpx
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer
    from quart_trio import QuartTrio

AppT = TypeVar("AppT")

LAST_SECONDS = 1.0
"""How long a process that ends waits for the export of its last spans."""
# In the SDK's order: variables for traces come before general ones. An empty variable is unset.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")

_HEADER = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+[ \t]*=[ \t!#-+\--:<-\[\]-~]*")
"""The syntax of a header that the SDK accepts; it would log anything else."""


class BadTelemetry(Exception):
    """A variable has an unusable value; str() names the variable."""


class _Switch:
    """The provider of the whole process; None: tracing is off."""

    provider: TracerProvider | None = None


@contextmanager
def tracing(process: str, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Enable tracing during the block if the environment asks for it.

    An unusable variable ends the process with 2 after a line that names it. Leaving the block waits for the
    last spans, LAST_SECONDS at most.
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
    """Return whether the environment enables tracing. Raises BadTelemetry."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in ("", "none", "otlp"):
        raise _bad("OTEL_TRACES_EXPORTER", "should be otlp or none", exporter)
    endpoint = _first(environment, ENDPOINTS)
    if exporter == "none" or not (exporter or endpoint):
        return False
    if endpoint and not _is_url(environment[endpoint]):
        # The value isn't shown: any part of it could be a secret.
        raise BadTelemetry(
            f"setting {endpoint}: should be http://HOST:PORT or https://HOST:PORT, without a query; "
            f"credentials for the collector belong in {HEADERS[1]}"
        )
    protocol = _first(environment, PROTOCOLS)
    if protocol and environment[protocol] != "http/protobuf":
        raise _bad(protocol, "should be http/protobuf", environment[protocol])
    headers = _first(environment, HEADERS)
    if headers and not _are_headers(environment[headers]):
        raise BadTelemetry(f"setting {headers}: should be NAME=VALUE, separated by commas")
    return True


def _first(environment: Mapping[str, str], names: Iterable[str]) -> str | None:
    """Return the first name that is set and not empty."""
    return next((name for name in names if environment.get(name)), None)


def _is_url(value: str) -> bool:
    """Return whether spans can be sent to the URL."""
    # Imported here, since few processes set the variable.
    from pydantic import TypeAdapter, ValidationError

    from runtime.urls import OtlpUrl

    try:
        TypeAdapter(OtlpUrl).validate_python(value)
    except ValidationError:
        return False
    return True


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
        # On exit the SDK would wait for its collector for much longer than LAST_SECONDS.
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise BadTelemetry(f"settings OTEL_…: {error}") from error
    return provider


def use(provider: TracerProvider | None) -> None:
    """Send the spans of apps, breakers and transports made from now on to `provider`; None: off."""
    _Switch.provider = provider


def is_on() -> bool:
    """Return whether tracing is on."""
    return _Switch.provider is not None


def tracer() -> Tracer:
    """Return the tracer of this process. Only if tracing is on."""
    assert _Switch.provider is not None
    return _Switch.provider.get_tracer("trio-breakers")


def stop(seconds: float = LAST_SECONDS) -> None:
    """Switch tracing off, and wait at most `seconds` for the export of the last spans."""
    provider = _Switch.provider
    if provider is None:
        return
    use(None)
    ending = threading.Thread(target=provider.shutdown, daemon=True)
    ending.start()
    ending.join(seconds)


def traced_breaker(breaker: CircuitBreaker) -> CircuitBreaker:
    """Return the breaker with its calls as spans and its decisions as span events."""
    if not is_on():
        return breaker
    from actors.adapters.tracing import traced

    return traced(breaker, tracer())


def traced_app(app: AppT, prefixes: Collection[str] = ()) -> AppT:
    """Return the ASGI app with each request as a span. prefixes: see TracedApp."""
    if not is_on():
        return app
    from runtime.observability.spans import TracedApp

    return TracedApp(app, tracer(), prefixes)  # type: ignore[return-value, arg-type]  # an ASGI app, too


def trace_requests(app: QuartTrio) -> None:
    """Make each request to the app a span that is named after its route."""
    if not is_on():
        return
    from runtime.observability.spans import name_by_route

    app.asgi_app = traced_app(app.asgi_app)  # type: ignore[method-assign]
    app.before_request(name_by_route)


def note_request(request_id: str) -> None:
    """Add the request's id to the current span."""
    if is_on():
        from runtime.observability.spans import note_request_id

        note_request_id(request_id)


def traced_transport(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return the transport with requests that carry the current span."""
    if not is_on():
        return transport
    from runtime.observability.spans import PropagatingTransport

    return PropagatingTransport(transport)


def exemplar_labels() -> Callable[[], Mapping[str, str] | None] | None:
    """Return the argument `exemplar` of `open_panel`: it reads the ids of the current trace. None if off."""
    if not is_on():
        return None
    from runtime.observability.spans import current_ids

    return current_ids
