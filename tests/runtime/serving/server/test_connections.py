"""Connections of a served app: they end with their client, and a fault ends one alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runtime.serving.connection import ClientConnection
from tests.gateway.wire import Watch
from tests.runtime.serving.server.served_quart_app import GET, everything, served_app, until


async def test_a_client_that_leaves_at_any_moment_leaves_no_task_behind() -> None:
    """Otherwise each such connection would stay open for the keep-alive time."""
    async with served_app() as one:
        await wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        for moment in range(40):
            stream = await one.connect(GET.format("/", ""))
            for _ in range(moment):
                await trio.lowlevel.checkpoint()
            await stream.aclose()
        await trio.sleep(0.1)
        assert trio.lowlevel.current_statistics().tasks_living <= before


@pytest.mark.parametrize(
    "head", [GET.format("/", "Connection: close\r\n"), "GET / HTTP/1.0\r\n\r\n"], ids=["close", "1.0"]
)
async def test_the_connection_closes_right_after_the_last_response(head: str) -> None:
    async with served_app() as one:
        stream = await one.connect(head)
        with trio.fail_after(1):
            assert (await everything(stream)).endswith(b"quick")


async def test_a_client_that_leaves_cancels_its_handler_within_100_ms() -> None:
    async with served_app() as one:
        stream = await one.connect(GET.format("/slow", ""))
        await one.entered.wait()
        watch = Watch()
        await stream.aclose()
        with trio.fail_after(2):
            await one.cancelled.wait()
        assert watch.seconds < 0.1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.parametrize("head", ["", GET.format("/", "")], ids=["unused", "idle"])
async def test_a_closed_connection_leaves_no_socket(head: str) -> None:
    """Before the first request, and between two."""
    async with served_app() as one:
        before = open_files()
        for _ in range(20):
            stream = await one.connect(head)
            if head:
                await until(stream, b"quick")
            await stream.aclose()
        await trio.sleep(0.05)
        assert open_files() <= before + 1


async def test_an_error_in_a_connection_ends_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_app() as one:
        with monkeypatch.context() as patched:

            async def broken(self: object) -> None:
                raise RuntimeError("a bug in the protocol")

            patched.setattr(ClientConnection, "_read_data", broken)
            assert await everything(await one.connect(GET.format("/", ""))) == b""
        await until(await one.connect(GET.format("/", "")), b"quick")


async def test_a_large_head_in_pieces_is_read() -> None:
    async with served_app() as one:
        head = GET.format("/", "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(40)))
        stream = await one.connect(head[:-2])
        await trio.sleep(0.05)
        await stream.send_all(head[-2:].encode())
        assert (await until(stream, b"quick")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/read"])
async def test_an_upload_that_is_not_read_gets_its_response(path: str) -> None:
    """The upload is received to its end, so that no reset overtakes the response."""
    async with served_app() as one:
        size = 3_000_000
        stream = await one.connect(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
        await stream.send_all(b"x" * size)
        answer = await stream.receive_some(10_000)
        assert answer.split(b" ")[1] == (b"200" if path == "/" else b"413")
