"""A client whose transport answers from a script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import trio

from actors import Panel, Snapshot
from actors.adapters.httpx import BreakerTransport, host_policy


class ScriptedBody(httpx.AsyncByteStream):
    """A body in pieces: bytes are read, numbers waited, exceptions raised."""

    def __init__(self, *pieces: bytes | float | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            elif isinstance(piece, Exception):
                raise piece
            else:
                await trio.sleep(piece)

    async def aclose(self) -> None:
        self.closed = True


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers each request with the next of `answers`."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked = self.open = 0

    async def __aenter__(self) -> ScriptedTransport:
        self.open += 1
        return self

    async def aclose(self) -> None:
        self.open -= 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def body(*pieces: bytes | float | Exception, status: int = 200) -> httpx.Response:
    return httpx.Response(status, stream=ScriptedBody(*pieces))


def client(
    panel: Panel, *answers: httpx.Response | Exception, **policy: object
) -> tuple[httpx.AsyncClient, ScriptedTransport]:
    inner = ScriptedTransport(*answers)
    transport = BreakerTransport(
        inner, panel, config_for=lambda host: replace(host_policy(host), max_failures=2, **policy)
    )
    return httpx.AsyncClient(transport=transport, base_url="http://it"), inner


async def snapshot_of(panel: Panel, name: str = "it") -> Snapshot:
    return await panel[name].snapshot()
