"""A breaker's text of a failed call: its route, its upstream and the cause, and no data of the client."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from tests.gateway.raw_requests import ask
from tests.gateway.running_gateway import NOWHERE, RunningGateway, in_process_gateway, served
from tests.gateway.wire import Peer, upstream

PRIVATE = "/auth/users/ada%40example.org?token=hush"


async def last_failure(gateway: RunningGateway) -> str:
    """The breaker's text after one failure."""
    snapshot = await gateway.snapshot()
    assert (snapshot.counts["failure"], snapshot.counts["success"]) == (1, 0)
    assert snapshot.last_failure is not None
    return snapshot.last_failure


def get(path: str = PRIVATE, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n".encode()


async def test_a_refused_connection_has_the_servers_url() -> None:
    """Without the path's ids and the query."""
    async with served() as gateway:
        await ask(gateway.port, get())
        assert await last_failure(gateway) == f"GET /auth · {NOWHERE}: Connection refused"


async def test_a_refusal_by_all_servers_names_all() -> None:
    async with served(auth=f"{NOWHERE},http://127.0.0.1:2") as gateway:
        await ask(gateway.port, get())
        said = await last_failure(gateway)
    assert said.startswith("GET /auth · http://127.0.0.1:")
    assert all(f"http://127.0.0.1:{port}: Connection refused" in said for port in (1, 2))


async def test_a_failed_response_has_its_status() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")

    async with upstream(script) as server, served(auth=server.url) as gateway:
        await ask(gateway.port, get(method="DELETE"))
        assert await last_failure(gateway) == f"DELETE /auth · {server.url}: status 502"


async def test_an_aborted_response_has_its_cause() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhush")

    async with upstream(script) as server, served(auth=server.url) as gateway:
        with pytest.raises(EOFError):
            await ask(gateway.port, get())
        said = await last_failure(gateway)
    assert said == f"GET /auth · {server.url}: the upstream closed the connection within a body"


async def test_a_late_response_has_the_time_that_it_had() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await trio.sleep(5)

    async with upstream(script) as server, served(auth=server.url, upstream_timeout=0.2) as gateway:
        await ask(gateway.port, get())
        assert await last_failure(gateway) == f"GET /auth · {server.url}: no response within 0.2 s"


class _Failing(httpx.AsyncBaseTransport):
    def __init__(self, error: httpx.TransportError) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ReadError(""), "GET /auth · http://127.0.0.1:8081: ReadError"),
        (
            httpx.ConnectError("http://auth:8081: Connection refused (10.0.0.3:8081)"),
            "GET /auth · http://auth:8081: Connection refused (10.0.0.3:8081)",
        ),
        (httpx.ReadError("x" * 300), f"GET /auth · http://127.0.0.1:8081: {'x' * 165}"),
    ],
)
async def test_a_text_is_never_empty_and_never_long(error: httpx.TransportError, said: str) -> None:
    async with failing(error) as gateway:
        await gateway.client().get(PRIVATE)
        assert await last_failure(gateway) == said
    assert len(said) <= 200


async def test_a_method_of_the_clients_own_is_not_quoted() -> None:
    async with failing(httpx.ReadError("no")) as gateway:
        await gateway.client().request("PROPFIND", PRIVATE)
        assert (await last_failure(gateway)).startswith("other /auth · ")


@pytest.mark.parametrize("error", [httpx.PoolTimeout("full"), httpx.LocalProtocolError("no such target")])
async def test_an_error_of_the_gateway_itself_is_still_no_failure(error: httpx.TransportError) -> None:
    async with failing(error) as gateway:
        await gateway.client().get(PRIVATE)
        assert (await gateway.snapshot()).last_failure is None
        assert await gateway.counts() == {"ignored": 1}


def failing(error: httpx.TransportError) -> Any:
    """A gateway whose connections to all services fail with this error."""
    return in_process_gateway(dict.fromkeys(("auth", "school", "student"), _Failing(error)))
