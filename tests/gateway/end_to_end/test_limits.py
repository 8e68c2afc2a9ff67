"""Limits of a head, of connections, of pipelined requests, and of documents that the gateway fetches."""

from types import SimpleNamespace

import trio
import trio.testing

from gateway.upstream.fetch import LIMIT, fetch_json
from gateway.upstream.pool import ConnectionPoolTransport
from tests.gateway.end_to_end.raw_http import GET, error, talk
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, answering, connect, ok, upstream


async def test_pipelined_requests_are_buffered_up_to_a_bound():
    async def silent(peer: Peer):
        await peer.until(b"\r\n\r\n")
        await trio.sleep_forever()

    async with upstream(silent) as server, served(auth=server.url) as gateway:
        peer = await connect(gateway.port)
        sent, stalled = 0, False
        while not stalled and sent < 10_000_000:
            with trio.move_on_after(0.5) as waiting:
                sent += await peer.stream.socket.send(GET * 1500)
            stalled = waiting.cancelled_caught
        assert stalled  # with the kernel's buffers full, mostly


async def test_a_head_of_max_header_bytes_passes_and_one_byte_more_is_431():
    head = GET[:-2] + b"Connection: close\r\nX-Long: %b\r\n\r\n"
    async with (
        upstream(answering(ok())) as server,
        served(auth=server.url, max_header_bytes=2000) as gateway,
    ):
        fill = 2000 - len(head % b"")
        assert (await talk(gateway.port, head % (b"x" * fill))).startswith(b"HTTP/1.1 200 ")
        assert error(await talk(gateway.port, head % (b"x" * (fill + 1)))) == (431, "INVALID_REQUEST")


async def test_a_new_client_replaces_the_longest_idle_one_or_gets_503():
    release = trio.Event()

    async def slow(peer: Peer):
        while True:
            await peer.request()
            await release.wait()
            await peer.send(ok())

    async with upstream(slow) as server, served(auth=server.url, max_connections=3) as gateway:
        idle = await connect(gateway.port)
        await trio.sleep(0.05)
        busy = [await connect(gateway.port) for _ in range(2)]
        for peer in busy:
            await peer.send(GET)
        await trio.sleep(0.05)
        third = await connect(gateway.port)
        assert await idle.closed(within=0.5) < 0.5
        await third.send(GET)
        await trio.sleep(0.05)
        refused = await talk(gateway.port, GET)
        assert error(refused) == (503, "SERVICE_UNAVAILABLE")
        assert b"\r\nretry-after: 1\r\n" in refused
        assert b"\r\nconnection: close\r\n" in refused
        release.set()
        with trio.fail_after(1):
            for peer in (*busy, third):
                await peer.until(b"\r\n\r\nok")
        again = await connect(gateway.port)
        await again.send(GET)
        with trio.fail_after(1):
            await again.until(b"\r\n\r\nok")


async def test_an_endless_document_of_a_service_is_given_up():
    sent = 0

    async def endless(peer: Peer):
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            await peer.send(b"0," * 32768)
            sent += 65536

    async with upstream(endless) as server:
        transport = ConnectionPoolTransport(server.url)
        service = SimpleNamespace(transport=transport, base_url=server.url)
        with trio.fail_after(5):
            assert (await fetch_json(service, "/health", timeout=30)).document is None
        assert sent < LIMIT + 20_000_000  # the kernel's buffers, mostly
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_a_document_that_cannot_be_decoded_is_none():
    answer = ok(b"not gzip", b"content-encoding: gzip")
    async with upstream(answering(answer)) as server:
        transport = ConnectionPoolTransport(server.url)
        service = SimpleNamespace(transport=transport, base_url=server.url)
        with trio.fail_after(5):
            assert (await fetch_json(service, "/health", timeout=3)).document is None
