"""Readers of the dashboard's stream, and services for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from gateway.dashboard.sse import PATH
from tests.gateway.running_gateway import RunningGateway, served

ROOT = Path(__file__).parents[3]


# Events of the stream.


class Silent(httpx.AsyncBaseTransport):
    """A service that isn't there; it counts the requests to it."""

    def __init__(self, answer: Callable[[], httpx.Response] | None = None) -> None:
        self.asked = 0
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self._answer is None:
            raise httpx.ConnectError("connection refused")
        return self._answer()


class Reader:
    """Reads events from a stream of bytes."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    async def next(self, kind: str, process: str | None = None) -> dict[str, Any]:
        """The next event of a kind."""
        with trio.fail_after(3):
            while True:
                while b"\n\n" not in self._rest:
                    self._rest += await anext(self._pieces)
                event, _, self._rest = self._rest.partition(b"\n\n")
                first, _, data = event.decode().partition("\ndata: ")
                found: dict[str, Any] = json.loads(data)
                if first == f"event: {kind}" and process in (None, found.get("process")):
                    return found


@asynccontextmanager
async def looking(port: int) -> AsyncIterator[Reader]:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        async with client.stream("GET", f"http://127.0.0.1:{port}{PATH}") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Reader(answer.aiter_raw())


@asynccontextmanager
async def shown(**settings: Any) -> AsyncIterator[RunningGateway]:
    """A gateway on a port, with its dashboard fed."""
    async with served(**settings) as built, trio.open_nursery() as nursery:
        await nursery.start(built.app.extensions["dashboard_feed"].run)
        yield built
        nursery.cancel_scope.cancel()
