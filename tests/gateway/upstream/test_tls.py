"""https upstreams: which certificates are trusted, what is logged, and the cost of a connection."""

import ssl
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import httpx
import pytest
import structlog.testing
import trio
import trio.testing

import gateway.upstream.balancer
from gateway.upstream.balancer import service_transport
from gateway.upstream.fetch import fetch_json
from runtime.auth import jwks_over_http
from tests.gateway.running_gateway import served
from tests.gateway.upstream.certificates import Authority
from tests.gateway.upstream.requests import fetch, request
from tests.gateway.wire import Peer, answering, connect, ok, upstream


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@asynccontextmanager
async def secured(context, script):
    """An https server, and how many connections it has had: its URL and the list of their peers."""
    seen = []

    async def serve(stream):
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        seen.append(stream)
        try:
            await secure.do_handshake()
            await script(Peer(secure))
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"https://127.0.0.1:{listener.socket.getsockname()[1]}", seen
        nursery.cancel_scope.cancel()


async def test_a_certificate_signed_by_the_ca_file_is_trusted(authority):
    """One connection serves many requests."""
    async with secured(authority.server_context("127.0.0.1"), answering(ok(b"{}"))) as (url, seen):
        transport = service_transport([url], ca_file=authority.file)
        for _ in range(5):
            assert await fetch(transport, request()) == (200, b"{}")
        service = SimpleNamespace(transport=transport, base_url=url)
        assert (await fetch_json(service, "/health", timeout=1)).document == {}
        assert len(seen) == 1


@pytest.mark.parametrize(
    ("names", "trusted", "reason"),
    [
        (["127.0.0.1"], False, "certificate verify failed: unable to get local issuer certificate"),
        (["other.example"], True, "certificate verify failed: IP address mismatch"),
    ],
)
async def test_an_untrusted_certificate_or_another_host_is_refused(authority, names, trusted, reason):
    async with secured(authority.server_context(*names), answering(ok())) as (url, _):
        transport = service_transport([url], ca_file=authority.file if trusted else None)
        with trio.fail_after(1), pytest.raises(httpx.ConnectError) as caught:
            await transport.handle_async_request(request())
        assert str(caught.value).startswith(f"{url}: {reason}")
        assert repr(transport).endswith("0 idle, 0 in use>")


async def test_the_log_has_the_reason_of_a_refused_certificate(authority):
    context = authority.self_signed_context("127.0.0.1")
    async with secured(context, answering(ok())) as (url, _), served(auth=url) as gateway:
        with structlog.testing.capture_logs() as logs:
            peer = await connect(gateway.port)
            await peer.send(b"GET /auth/x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
            assert (await peer.rest()).startswith(b"HTTP/1.1 502 ")
            await trio.testing.wait_all_tasks_blocked(0.02)  # the line is written after the response
        [line] = [one for one in logs if one["event"] == "request"]
        assert line["reason"] == f"{url}: certificate verify failed: self-signed certificate"
        assert await gateway.counts() == {"failure": 1}


async def test_a_server_without_tls_is_a_connect_error():
    async def plain(peer: Peer):
        await peer.send(b"not TLS at all")

    async with upstream(plain) as server:
        url = server.url.replace("http:", "https:")
        transport = service_transport([url])
        with trio.fail_after(1), pytest.raises(httpx.ConnectError) as caught:
            await transport.handle_async_request(request())
        assert str(caught.value).removeprefix(f"{url}: ").lower().replace("_", " ") == "wrong version number"


async def test_a_service_has_one_tls_context_or_none(authority, monkeypatch):
    made = []

    def counted(ca_file):
        made.append(ca_file)
        return ssl.create_default_context(cafile=ca_file)

    monkeypatch.setattr(gateway.upstream.balancer, "client_context", counted)
    closing = answering(ok(b"ok", b"connection: close"))
    async with secured(authority.server_context("127.0.0.1"), closing) as (url, seen):
        transport = service_transport([url, url], ca_file=authority.file)
        for _ in range(4):
            await fetch(transport, request())
    assert (made, len(seen)) == ([authority.file], 4)
    service_transport(["http://h:1"], ca_file=authority.file)
    assert len(made) == 1


async def test_keys_are_fetched_over_verified_tls(authority, monkeypatch):
    keys = answering(ok(b'{"keys": []}'))
    async with secured(authority.server_context("127.0.0.1"), keys) as (url, _):
        assert await jwks_over_http(url, ca_file=authority.file)() == {"keys": []}
        transport = service_transport([url], ca_file=authority.file)
        assert await jwks_over_http(url, transport=transport)() == {"keys": []}
        with pytest.raises(httpx.ConnectError):
            await jwks_over_http(url)()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert await jwks_over_http(url)() == {"keys": []}
        assert await fetch(service_transport([url]), request()) == (200, b'{"keys": []}')
