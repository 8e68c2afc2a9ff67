"""The gateway over HTTP/2: the same requests and answers, and breakers that count the same."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from runtime.serving import ServerCertificate
from tests.certificates import TestCertificate
from tests.gateway.end_to_end.raw_http import TRAILED, fields, recording
from tests.gateway.running_gateway import served
from tests.gateway.wire import Peer, Watch, answering, ok, upstream
from tests.runtime.serving.h2_client import H2Client


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return TestCertificate(tmp_path_factory.mktemp("certificate"))


@asynccontextmanager
async def gateway_of(pair, script, **settings):
    """A gateway with TLS in front of an upstream, and both."""
    certificate = ServerCertificate(pair.certificate, pair.key)
    async with upstream(script) as server:
        async with served(auth=server.url, certificate=certificate, **settings) as gateway:
            yield gateway, server


def browser(pair, gateway):
    return httpx.AsyncClient(
        verify=pair.client_context(), http1=False, http2=True, base_url=f"https://127.0.0.1:{gateway.port}"
    )


@asynccontextmanager
async def frames(pair, gateway):
    """A client that speaks frames."""
    context: ssl.SSLContext = pair.client_context("h2")
    raw = await trio.open_tcp_stream("127.0.0.1", gateway.port)
    stream = trio.SSLStream(raw, context, server_hostname="127.0.0.1", https_compatible=True)
    await stream.do_handshake()
    client = H2Client(stream)
    await client.flush()
    try:
        yield client
    finally:
        await trio.aclose_forcefully(stream)


async def test_get_head_post_and_404_work_over_http2(pair):
    """Cookies reach the service as one field."""
    seen = []
    async with gateway_of(pair, recording(seen)) as (gateway, _), browser(pair, gateway) as client:
        got = await client.get("/auth/x?q", headers=[("cookie", "a=1"), ("cookie", "b=2")])
        assert (got.http_version, got.status_code, got.content) == ("HTTP/2", 200, b"ok")
        assert (await client.post("/auth/y", content=b"hello")).status_code == 200
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.head("/livez")).status_code == 200
    assert seen[0].startswith(b"GET /x?q HTTP/1.1\r\n")
    assert fields(seen[0], b"cookie") == [b"a=1; b=2"]
    assert fields(seen[0], b"x-forwarded-proto") == [b"https"]
    assert fields(seen[0], b"via") == [b"2 api-gateway"]
    assert seen[1].endswith(b"\r\n\r\nhello")


async def test_a_method_keeps_its_case(pair):
    """HTTP/2 allows methods that llhttp doesn't accept."""
    seen = []
    async with gateway_of(pair, recording(seen)) as (gateway, _), frames(pair, gateway) as client:
        assert (await client.ask(b"/auth/x", b"gEt")).status == 200
        assert (await client.ask(b"/auth/x", b"head")).status == 400, "it may be taken for HEAD"
    assert seen[0].startswith(b"gEt /x HTTP/1.1\r\n")


async def test_bodies_larger_than_all_windows_arrive(pair):
    size = 5_000_000

    async def script(peer: Peer):
        head = await peer.until(b"\r\n\r\n")
        body = await peer.body(head)
        await peer.send(ok(b"%d" % len(body) + bytes(size)))

    async with gateway_of(pair, script, max_body_bytes=10_000_000) as (gateway, _):
        async with browser(pair, gateway) as client:
            with trio.fail_after(20):
                got = await client.post("/auth/x", content=bytes(size))
    assert got.content == b"%d" % size + bytes(size)


async def test_trailers_and_early_hints_reach_the_client(pair):
    """Trailers only if the client accepts them."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with gateway_of(pair, answering(hints + TRAILED)) as (gateway, _), frames(pair, gateway) as client:
        answer = await client.ask(b"/auth/x", b"GET", [(b"te", b"trailers")])
    assert answer.informational == [(103, [(b"link", b"</a>")])]
    assert (answer.status, bytes(answer.body), answer.trailers) == (200, b"abc", [(b"x-sum", b"7")])


async def test_a_bad_request_is_400_and_the_next_stream_is_served(pair):
    async with gateway_of(pair, answering(ok())) as (gateway, server), frames(pair, gateway) as client:
        assert (await client.ask(b"/auth/\xff")).status == 400
        assert server.connections == 0
        assert (await client.ask(b"/auth/x")).status == 200


async def test_a_reset_stream_cancels_its_upstream_call_within_100_ms(pair):
    entered, gone = trio.Event(), trio.Event()

    async def silent(peer: Peer):
        await peer.until(b"\r\n\r\n")
        entered.set()
        await peer.rest()
        gone.set()

    async with gateway_of(pair, silent) as (gateway, _), frames(pair, gateway) as client:
        stream_id = client.open(b"/auth/x")
        await client.flush()
        await entered.wait()
        watch = Watch()
        client.connection.reset_stream(stream_id)
        await client.flush()
        with trio.fail_after(2):
            await gone.wait()
        assert watch.seconds < 0.1
        assert await gateway.counts() == {"cancelled": 1}


async def test_a_body_that_does_not_arrive_is_408_and_no_failure(pair):
    async def patient(peer: Peer):
        await peer.rest()

    async with gateway_of(pair, patient, client_body_timeout=0.1) as (gateway, _):
        async with frames(pair, gateway) as client:
            stream_id = client.open(b"/auth/x", b"POST", [(b"content-length", b"5")], end=False)
            client.send_data(stream_id, b"he")
            await client.flush()
            assert (await client.answer(stream_id)).status == 408
        assert await gateway.counts() == {"cancelled": 1}


async def test_an_incomplete_response_resets_the_stream_and_is_a_failure(pair):
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"
    async with gateway_of(pair, answering(half, then_close=True)) as (gateway, _):
        async with frames(pair, gateway) as client:
            answer = await client.ask(b"/auth/x")
            assert answer.reset is not None
            assert not answer.ended
        assert await gateway.counts() == {"failure": 1}
