"""A process that serves: it drains at a signal, and ends if its port is taken."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from runtime.serving import listen
from tests.runtime.serving.server.served_quart_app import GET, everything, until

ROOT = Path(__file__).resolve().parents[4]


PROCESS = """
import sys, trio
from quart_trio import QuartTrio
from runtime.web.connection import Connection
from runtime.serving import run_process, serve
app = QuartTrio("test")
app.asgi_http_class = Connection
@app.get("/")
async def slow():
    print("entered", flush=True)
    await trio.sleep(0.3)
    return "done"
async def main(port):
    async with trio.open_nursery() as nursery:
        print("port", await nursery.start(lambda task_status: serve(
            app, host="127.0.0.1", port=port, task_status=task_status)), flush=True)
run_process(main, int(sys.argv[1]))
"""


@asynccontextmanager
async def process(port: int) -> AsyncIterator[trio.Process]:
    """The program above, killed at the end if it still runs."""
    start: Callable[..., Awaitable[trio.Process]] = partial(
        trio.lowlevel.open_process,
        [sys.executable, "-c", PROCESS, str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running = await start()
    try:
        with trio.fail_after(30):
            yield running
    finally:
        if running.returncode is None:
            running.kill()
            with trio.CancelScope(shield=True):
                await running.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_process(number: signal.Signals) -> None:
    """The request in flight is answered, and the process ends with 0."""
    async with process(0) as running:
        assert running.stdout is not None
        await until(running.stdout, b"\nport ")
        port = int(await until(running.stdout, b"\n"))
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(GET.format("/", "").encode())
        await until(running.stdout, b"entered\n")
        running.send_signal(number)
        assert (await everything(stream)).endswith(b"done")
        assert await running.wait() == 0


async def test_a_taken_port_ends_the_process() -> None:
    """One line on standard error, and exit code 1."""
    with listen("127.0.0.1", 0) as taken:
        async with process(taken.getsockname()[1]) as running:
            assert await running.wait() == 1
            assert running.stderr is not None
            text = b"".join([part async for part in running.stderr])
            assert text.count(b"\n") == 1
            assert text.startswith(b"cannot listen on 127.0.0.1:")
