"""The log line of a request to a service has the way it ended; its span has the request's id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import structlog
import trio
from pydantic import BaseModel
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture

from actors import open_panel
from runtime.serving import serve
from runtime.serving.limits import Limits
from runtime.web.app import service_app
from runtime.web.json_body import read_json
from runtime.web.request_log import seconds_left
from tests.spans import recorded

HEAD = "GET /slow/7 HTTP/1.1\r\nHost: it\r\nX-Request-ID: mine\r\n{}\r\n"


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """The logged lines, also those of tasks that began before."""
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    yield capture.entries
    structlog.reset_defaults()


class Slow:
    """A service with a handler that waits, in one task or in two, until it is cancelled."""

    def __init__(self, port: int, entered: trio.Event) -> None:
        self.port, self.entered = port, entered

    async def ask(self, fields: str = "") -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(HEAD.format(fields).encode())
        await self.entered.wait()
        return stream


@asynccontextmanager
async def slow(stop: trio.Event, tasks: int = 1) -> AsyncIterator[Slow]:
    async with open_panel() as panel, trio.open_nursery() as nursery:
        app, entered = service_app("it", panel), trio.Event()

        @app.get("/slow/<int:number>")
        async def wait(number: int) -> str:
            entered.set()
            async with trio.open_nursery() as waiting:
                for _ in range(tasks - 1):
                    waiting.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
            return str(number)

        run = partial(serve, app, host="127.0.0.1", port=0, grace=0.05, stop=stop.wait)
        yield Slow(await nursery.start(run), entered)
        nursery.cancel_scope.cancel()


async def told(lines: list[Any]) -> dict[str, Any]:
    """Wait for the line of the one request, and return it."""
    with trio.fail_after(3):
        while not (found := [line for line in lines if line["event"] == "request"]):  # noqa: ASYNC110
            await trio.sleep(0.005)
    (line,) = found
    assert (line["request_id"], line["method"], line["path"]) == ("mine", "GET", "/slow/7")
    return dict(line)


@pytest.mark.parametrize("tasks", [1, 2])
async def test_a_client_that_disconnects_has_a_log_line_and_a_span(lines: list[Any], tasks: int) -> None:
    with recorded() as seen:
        async with slow(trio.Event(), tasks) as service:
            stream = await service.ask()
            await stream.aclose()
            line = await told(lines)
            assert (line["status"], line["client_left"]) == (None, True)
            assert line["duration_ms"] > 0
    span = seen.one("GET /slow/<int:number>")
    attributes = dict(span.attributes or {})
    assert attributes["http.route"] == "/slow/<int:number>"
    assert attributes["http.response.header.x-request-id"] == ("mine",)
    assert line["trace_id"] == f"{span.context.trace_id:032x}"


async def test_a_passed_deadline_of_the_caller_is_answered_and_logged(lines: list[Any]) -> None:
    async with slow(trio.Event()) as service:
        stream = await service.ask("X-Request-Timeout-Ms: 50\r\nConnection: close\r\n")
        with trio.fail_after(3):
            answer = b"".join([piece async for piece in stream])
        line = await told(lines)
    assert answer.startswith(b"HTTP/1.1 504")
    assert b'"GATEWAY_TIMEOUT"' in answer
    assert b"\r\nx-request-id: mine\r\n" in answer.lower()
    assert (line["status"], line["error"]) == (504, "GATEWAY_TIMEOUT")
    assert "client_left" not in line


async def test_a_request_cut_off_by_the_shutdown_is_not_logged_as_a_disconnect(lines: list[Any]) -> None:
    stop = trio.Event()
    async with slow(stop) as service:
        async with await service.ask():
            stop.set()
            line = await told(lines)
    assert (line["status"], line["client_left"]) == (None, False)


class PartialRequest:
    """Sends a request in parts to a service whose handler reads the body and then works for a while."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send(self, part: str) -> None:
        await self._stream.send_all(part.encode())

    async def answer(self) -> bytes:
        with trio.fail_after(3):
            return b"".join([piece async for piece in self._stream])


class Anything(BaseModel):
    """Any object."""


@asynccontextmanager
async def uploading(work: float) -> AsyncIterator[PartialRequest]:
    """The caller waits for 200 ms; the server waits 500 ms for a piece of the body."""
    async with open_panel() as panel, trio.open_nursery() as nursery:
        app = service_app("it", panel)

        @app.post("/things")
        async def add() -> str:
            await read_json(Anything)
            await trio.sleep(work)
            return "done"

        limits = Limits(body_seconds=0.5)
        run = partial(serve, app, host="127.0.0.1", port=0, stop=trio.sleep_forever, limits=limits)
        stream = await trio.open_tcp_stream("127.0.0.1", await nursery.start(run))
        client = PartialRequest(stream)
        await client.send(
            "POST /things HTTP/1.1\r\nHost: it\r\nX-Request-Timeout-Ms: 200\r\n"
            "Connection: close\r\nContent-Length: 2\r\n\r\n"
        )
        yield client
        nursery.cancel_scope.cancel()


async def test_the_callers_deadline_stands_still_during_the_upload() -> None:
    async with uploading(work=0.1) as client:
        await trio.sleep(0.3)
        await client.send("{")
        await trio.sleep(0.3)
        await client.send("}")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_the_callers_remaining_time_is_the_same_after_the_upload() -> None:
    async with uploading(work=10) as client:
        await trio.sleep(0.3)
        await client.send("{}")
        started = trio.current_time()
        assert (await client.answer()).startswith(b"HTTP/1.1 504")
        assert 0.1 < trio.current_time() - started < 0.4


async def test_a_body_that_does_not_arrive_is_408_and_not_504() -> None:
    """The gateway would count a 504 as the service's failure."""
    async with uploading(work=0) as client:
        await client.send("{")
        answer = await client.answer()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"REQUEST_TIMEOUT"' in answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1500", 1.5),
        ("", float("inf")),
        ("-1", float("inf")),
        ("9" * 5000, float("inf")),
        ("\u0663", float("inf")),
    ],
)
def test_only_a_plain_number_is_a_deadline(text: str, seconds: float) -> None:
    assert seconds_left(text) == seconds
