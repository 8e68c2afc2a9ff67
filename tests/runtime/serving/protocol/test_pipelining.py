"""Pipelined requests: each is answered, in order."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from tests.runtime.serving.running_app import echo, respond, running

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Held:
    """Echoes; the first response waits until it is released."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.release = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.set()
        await self.release.wait()
        await echo(scope, receive, send)


@pytest.mark.parametrize("cut", [0, 1, 6, 11])
@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_pipelined_body_reaches_the_app_in_order(cut: int, pieces: int) -> None:
    app = Held()
    body = b"hello world"
    async with running(app) as server:
        peer = await server.connect()
        head = b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n"
        await peer.send(GET % 1 + head + body[:cut])
        await app.entered.wait()
        rest = body[cut:] + CLOSE
        size = -(-len(rest) // pieces)
        for at in range(0, len(rest), size):
            await peer.send(rest[at : at + size])
            await trio.sleep(0.02)
            app.release.set()
        with trio.fail_after(2):
            answer = await peer.rest()
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert b"POST /2 hello world" in answer


@pytest.mark.parametrize(
    "bad", [b"GET /3 HTTP/1.1\r\nHost : h\r\n\r\n", b"GET /3 HTTP/1.1\r\n\r\n", b"\x16\x03"]
)
async def test_an_invalid_request_is_answered_after_those_before_it(bad: bytes) -> None:
    """Nothing behind it is read."""
    async with running(echo) as server:
        answer = await server.talk(GET % 1 + GET % 2 + bad + b"\r\n\r\n" + CLOSE)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"400"]


async def test_many_pipelined_requests_that_offer_an_upgrade_are_served() -> None:
    one = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)

    async with running(app) as server:
        answer = await server.talk(one * 900 + CLOSE)
    assert answer.count(b"HTTP/1.1 200 OK") == 901
