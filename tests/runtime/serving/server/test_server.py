"""Serving over real sockets: binding a port, and draining at the stop."""

from __future__ import annotations

import socket

import pytest
import trio
from quart_trio import QuartTrio

from runtime.serving import CannotListen, listen, serve
from tests.runtime.serving.server.served_quart_app import GET, everything, served_app, until


async def test_requests_in_flight_finish_after_the_stop_and_no_connection_is_accepted() -> None:
    async with served_app() as one:
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


async def test_a_request_of_an_idle_client_after_the_stop_is_answered() -> None:
    """It may have been sent before the client saw the end."""
    async with served_app() as it:
        stream = await it.connect(GET.format("/", ""))
        await until(stream, b"quick")
        it.stop.set()
        await trio.sleep(0.05)
        await stream.send_all(GET.format("/", "").encode())
        assert b"quick" in await everything(stream)


async def test_connections_in_the_backlog_at_the_stop_are_served() -> None:
    async with served_app() as it:
        clients = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(20)]
        it.stop.set()
        for client in clients:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            await stream.send_all(GET.format("/", "").encode())
            assert b"quick" in await everything(stream)


async def test_a_request_that_exceeds_the_grace_is_cancelled() -> None:
    async with served_app(grace=0.05) as one:
        stream = await one.connect(GET.format("/slow", ""))
        await one.entered.wait()
        one.stop.set()
        with trio.fail_after(2):
            await one.ended.wait()
        assert one.cancelled.is_set()
        await stream.aclose()


async def test_a_client_that_stopped_reading_does_not_delay_the_end() -> None:
    async with served_app(grace=0.1) as one:
        stream = await one.connect(GET.format("/large", ""))
        await stream.receive_some(1000)
        one.stop.set()
        with trio.fail_after(2):
            await one.ended.wait()
        await stream.aclose()


async def test_a_taken_port_is_an_error_with_its_number() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(QuartTrio("test"), host="127.0.0.1", port=port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 70])
def test_an_unknown_host_is_an_error(host: str) -> None:
    with pytest.raises(CannotListen):
        listen(host, 0)
