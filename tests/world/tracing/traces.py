"""A client's trace, and the breaker's events of a span."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan

TRACE = "0af7651916cd43dd8448eb211c80319c"


PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def events(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("circuit_breaker.") for event in span.events]
