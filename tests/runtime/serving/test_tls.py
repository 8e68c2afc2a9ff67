"""TLS: handshakes, the protocols behind them, how connections end, and renewed certificates."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from runtime.serving import ServerCertificate, UnusableCertificate
from tests.certificates import TestCertificate, serial_of
from tests.gateway.wire import Peer
from tests.runtime.serving.running_app import echo, respond, running

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("offered", "chosen", "version"),
    [((), None, "HTTP/1.1"), (("http/1.1",), "http/1.1", "HTTP/1.1"), (("h2", "http/1.1"), "h2", "HTTP/2")],
)
async def test_the_protocol_is_http2_if_the_client_offers_it(
    pair: TestCertificate, offered: tuple[str, ...], chosen: str | None, version: str
) -> None:
    async with running(echo, pair) as server:
        peer = await server.connect(*offered)
        assert peer.stream.selected_alpn_protocol() == chosen
        http2 = "h2" in offered
        context = pair.client_context()
        async with httpx.AsyncClient(verify=context, http1=not http2, http2=http2) as client:
            answer = await client.post(f"https://127.0.0.1:{server.port}/x", content=b"hello")
        assert (answer.http_version, answer.content) == (version, b"POST /x hello")


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
async def test_a_stalled_handshake_ends_after_the_time_of_a_head(pair: TestCertificate, data: bytes) -> None:
    """Others are served meanwhile."""
    async with running(echo, pair, head_seconds=0.2) as server:
        stalled = Peer(await trio.open_tcp_stream("127.0.0.1", server.port))
        await stalled.send(data)
        peer = await server.connect()
        await peer.send(GET)
        await peer.until(b"GET / ")
        assert await stalled.closed(within=1) < 0.6


@pytest.mark.parametrize(
    "data", [GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(1000), b"\x15\x03\x01\x00\x02\x02\x28"]
)
async def test_clear_text_on_the_port_of_tls_ends_at_once(
    pair: TestCertificate, data: bytes, capsys: Any
) -> None:
    """No traceback is logged."""
    async with running(echo, pair) as server:
        peer = Peer(await trio.open_tcp_stream("127.0.0.1", server.port))
        await peer.send(data)
        await peer.closed(within=1)
    assert "failed" not in capsys.readouterr().out


async def test_clear_text_has_no_http2() -> None:
    """Neither by an upgrade nor by prior knowledge."""
    async with running(echo) as server:
        upgrade = (
            GET[:-2]
            + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
        )
        assert (await server.talk(upgrade)).startswith(b"HTTP/1.1 200 ")
        assert (await server.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("whole", [True, False])
async def test_close_notify_follows_a_whole_response_alone(pair: TestCertificate, whole: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": not whole})

    async with running(app, pair) as server:
        raw = await trio.open_tcp_stream("127.0.0.1", server.port)
        stream = trio.SSLStream(raw, pair.client_context(), server_hostname="127.0.0.1")
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        peer = Peer(stream)  # type: ignore[arg-type]
        await peer.until(b"abc")
        with trio.fail_after(1):
            if whole:
                assert await stream.receive_some() == b""
            else:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()


async def test_a_large_response_arrives_before_the_close(pair: TestCertificate) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, bytes(3_000_000))

    async with running(app, pair) as server:
        answer = await server.talk(GET[:-2] + b"Connection: close\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) == 3_000_000


async def test_new_connections_get_a_renewed_certificate(tmp_path: Path, capsys: Any) -> None:
    """Open ones go on. An invalid pair changes nothing."""
    pair = TestCertificate(tmp_path, serial=1)
    async with running(echo, pair) as server:
        assert server.certificate is not None
        old = await server.connect()
        assert serial_of(old.stream) == 1
        pair.renew(2)
        server.certificate.reload()
        assert serial_of((await server.connect()).stream) == 2
        await old.send(GET)
        await old.until(b"GET / ")
        good = pair.key.read_bytes()
        for bad in (b"", b"nonsense", TestCertificate(tmp_path.parent).key.read_bytes()):
            pair.key.write_bytes(bad)
            capsys.readouterr()
            server.certificate.reload()
            said = capsys.readouterr().out
            assert "TLS_CERT_FILE" in said
            assert "TLS_KEY_FILE" in said
            assert serial_of((await server.connect()).stream) == 2
        pair.key.write_bytes(good)


def test_an_invalid_pair_is_reported_with_files_and_reason(tmp_path: Path) -> None:
    with pytest.raises(
        UnusableCertificate, match=r"TLS_CERT_FILE .*none.pem with TLS_KEY_FILE .* can't be used: "
    ):
        ServerCertificate(tmp_path / "none.pem", tmp_path / "none.key")


async def test_old_versions_of_tls_are_refused(pair: TestCertificate) -> None:
    """TLS 1.2 at least."""
    async with running(echo, pair) as server:
        context = pair.client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", server.port), context, server_hostname="127.0.0.1"
        )
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
