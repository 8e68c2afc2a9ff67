"""One trace through the whole world: gateway, service, gRPC and database, with the breakers' decisions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs
from trio.testing import MockClock

from runtime import telemetry
from tests.world.world import open_world

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Seen:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def forget(self) -> None:
        self._exporter.clear()

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def tree(self) -> list[str]:
        """Each span's name, set in below its parent's."""
        children: dict[int | None, list[ReadableSpan]] = {}
        known = {span.context.span_id for span in self.spans}
        for span in self.spans:
            parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
            children.setdefault(parent, []).append(span)

        def below(parent: int | None, depth: int) -> Iterator[str]:
            for span in children.get(parent, ()):
                yield "  " * depth + span.name
                yield from below(span.context.span_id, depth + 1)

        return list(below(None, 0))


@pytest.fixture
def seen() -> Iterator[Seen]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.use(provider)
    yield Seen(exporter)
    telemetry.use(None)


def events(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("circuit_breaker.") for event in span.events]


async def test_one_trace_from_the_client_to_the_database(seen: Seen, mock_clock: MockClock) -> None:
    """The spans of one request are one tree, and belong to the trace that the client began."""
    async with open_world() as world:
        await world.sign_in()
        school = await world.add_school()
        seen.forget()
        world.client.headers["traceparent"] = PARENT
        with capture_logs(processors=[]) as lines:
            answer = await world.add_student(school, "R-1")
        assert answer.status_code == 201
    assert seen.tree() == [
        "POST /students",
        "  student-service-http",
        "    POST /students",
        "      student-service-grpc",
        "        school.SchoolService/ValidateSchool",
        "          school-database",
        "      student-database",
    ]
    assert {f"{span.context.trace_id:032x}" for span in seen.spans} == {TRACE}
    outermost = seen.spans[0]
    assert outermost.parent is not None
    assert f"{outermost.parent.span_id:016x}" == "b7ad6b7169203331"
    assert lines
