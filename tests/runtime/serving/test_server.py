"""Serving over real sockets: binding, draining, and the ends of a request."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from quart import request
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked

from runtime.serving import CannotListen, listen, serve
from runtime.serving.connection import ClientConnection
from runtime.web.connection import Connection
from tests.gateway.wire import Watch

ROOT = Path(__file__).resolve().parents[3]


class Served:
    """An app that is being served, what its handlers did, and the switch that stops it."""

    def __init__(self) -> None:
        self.app = QuartTrio("test")
        self.app.asgi_http_class = Connection
        self.app.config["MAX_CONTENT_LENGTH"] = 1000
        self.stop = trio.Event()
        self.entered = trio.Event()
        self.cancelled = trio.Event()
        self.release = trio.Event()
        self.ended = trio.Event()
        self.port = 0
        self.app.add_url_rule("/", "quick", self._quick, methods=["GET", "POST"])
        self.app.add_url_rule("/slow", "slow", self._slow)
        self.app.add_url_rule("/large", "large", self._large)
        self.app.add_url_rule("/read", "read", self._read, methods=["POST"])

    async def _quick(self) -> str:
        return "quick"

    async def _slow(self) -> str:
        self.entered.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return "slow"

    async def _large(self) -> bytes:
        return bytes(50_000_000)

    async def _read(self) -> str:
        return str(len(await request.body))

    async def run(self, grace: float, task_status: trio.TaskStatus[int]) -> None:
        await serve(
            self.app, host="127.0.0.1", port=0, grace=grace, stop=self.stop.wait, task_status=task_status
        )
        self.ended.set()

    async def connect(self, head: str) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(head.encode())
        return stream


@asynccontextmanager
async def served(grace: float = 5.0) -> AsyncIterator[Served]:
    """An app on a free port, stopped at the end."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            one = Served()
            one.port = await nursery.start(partial(one.run, grace))
            yield one
            nursery.cancel_scope.cancel()


async def everything(stream: trio.SocketStream) -> bytes:
    """What comes until the server closes."""
    with trio.fail_after(5):
        return b"".join([part async for part in stream])


async def until(stream: trio.abc.ReceiveStream, ending: bytes) -> bytes:
    """What comes up to `ending`."""
    text = b""
    while not text.endswith(ending):
        part = await stream.receive_some(1)
        assert part, text
        text += part
    return text


GET = "GET {} HTTP/1.1\r\nHost: h\r\n{}\r\n"


async def test_stop_lets_what_is_in_flight_finish() -> None:
    """After the stop no connection is accepted, and requests in flight are answered before serve returns."""
    async with served() as one:
        stream = await one.connect(GET.format("/slow", ""))
        idle = await one.connect(GET.format("/", ""))
        await until(idle, b"quick")
        await one.entered.wait()
        one.stop.set()
        assert await everything(idle) == b""
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", one.port)
        assert not one.ended.is_set()
        one.release.set()
        assert (await everything(stream)).endswith(b"slow")
        await one.ended.wait()


async def test_an_idle_client_may_still_ask_at_the_end() -> None:
    """Its request may be under way already."""
    async with served() as it:
        stream = await it.connect(GET.format("/", ""))
        await until(stream, b"quick")
        it.stop.set()
        await trio.sleep(0.05)
        await stream.send_all(GET.format("/", "").encode())
        assert b"quick" in await everything(stream)


async def test_who_has_connected_at_the_end_is_answered() -> None:
    """More than the loop accepts before it sees the stop."""
    async with served() as it:
        clients = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(20)]
        it.stop.set()
        for client in clients:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            await stream.send_all(GET.format("/", "").encode())
            assert b"quick" in await everything(stream)


async def test_grace_is_limited() -> None:
    """A request that doesn't end in the time of grace is cancelled."""
    async with served(grace=0.05) as one:
        stream = await one.connect(GET.format("/slow", ""))
        await one.entered.wait()
        one.stop.set()
        with trio.fail_after(2):
            await one.ended.wait()
        assert one.cancelled.is_set()
        await stream.aclose()


async def test_a_client_that_has_stopped_reading_cannot_hold_up_the_end() -> None:
    """The time of grace is for requests, and a write that goes nowhere doesn't get more."""
    async with served(grace=0.1) as one:
        stream = await one.connect(GET.format("/large", ""))
        await stream.receive_some(1000)
        one.stop.set()
        with trio.fail_after(2):
            await one.ended.wait()
        await stream.aclose()


async def test_a_client_that_leaves_at_any_moment_leaves_no_task_behind() -> None:
    """Else each such connection would stay for the time of keep-alive."""
    async with served() as one:
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
async def test_the_last_answer_closes(head: str) -> None:
    """A client that asked for it sees the end right after its answer, not at the keep-alive's end."""
    async with served() as one:
        stream = await one.connect(head)
        with trio.fail_after(1):
            assert (await everything(stream)).endswith(b"quick")


async def test_a_client_that_leaves_cancels_its_handler() -> None:
    """Within a tenth of a second."""
    async with served() as one:
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
async def test_a_connection_that_was_closed_is_let_go(head: str) -> None:
    """A client that closes between two requests, or before the first, leaves no socket behind."""
    async with served() as one:
        before = open_files()
        for _ in range(20):
            stream = await one.connect(head)
            if head:
                await until(stream, b"quick")
            await stream.aclose()
        await trio.sleep(0.05)
        assert open_files() <= before + 1


async def test_a_fault_in_a_connection_ends_that_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others, and those to come, are served."""
    async with served() as one:
        with monkeypatch.context() as patched:

            async def broken(self: object) -> None:
                raise RuntimeError("a bug in the protocol")

            patched.setattr(ClientConnection, "_read_data", broken)
            assert await everything(await one.connect(GET.format("/", ""))) == b""
        await until(await one.connect(GET.format("/", "")), b"quick")


async def test_a_head_that_the_gateway_lets_through() -> None:
    """A service reads every head that reaches it, however large, and in however many pieces."""
    async with served() as one:
        head = GET.format("/", "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(40)))
        stream = await one.connect(head[:-2])
        await trio.sleep(0.05)
        await stream.send_all(head[-2:].encode())
        assert (await until(stream, b"quick")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/read"])
async def test_an_upload_nobody_reads_gets_its_answer(path: str) -> None:
    """The whole of the upload is taken, so that the answer isn't lost in a reset."""
    async with served() as one:
        size = 3_000_000
        stream = await one.connect(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
        await stream.send_all(b"x" * size)
        answer = await stream.receive_some(10_000)
        assert answer.split(b" ")[1] == (b"200" if path == "/" else b"413")


async def test_a_port_that_is_taken() -> None:
    """It is said which, before anything is served."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(QuartTrio("test"), host="127.0.0.1", port=port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70])
def test_a_host_that_is_none(host: str) -> None:
    """A name that can't be resolved is an error of the same kind."""
    with pytest.raises(CannotListen):
        listen(host, 0)


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
        with trio.fail_after(10):
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
