"""Clients that stall in the middle of a body, through a real gateway to a real service."""

from __future__ import annotations

from functools import partial

import httpx
import pytest
import trio

from actors import CircuitBreakerConfig, Panel, open_panel
from runtime.serving import Limits, serve
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.mongo.dependency import database_dependency
from tests.gateway.running_gateway import served
from tests.services.auth.fake_repository import FakeAccountRepository

HEAD = b"POST /auth/login HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"


def _app(panel: Panel):
    guard = database_dependency(panel, CircuitBreakerConfig(name="auth-database"), REJECTION_MESSAGE)
    return create_app(Accounts(FakeAccountRepository(), guard, Passwords()), panel)


async def test_a_stalled_body_is_408_and_no_failure_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time limit of a body is longer than the service's deadline."""
    # The service's answer isn't held back until the body's time is over.
    monkeypatch.setattr("runtime.web.connection.DRAIN_SECONDS", 0.05)
    statuses: list[bytes] = []

    async def stall(port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(HEAD)
        statuses.append(b"".join([piece async for piece in stream])[9:12])

    with trio.fail_after(20):
        async with open_panel() as panel, trio.open_nursery() as nursery:
            serving = partial(serve, _app(panel), host="127.0.0.1", port=0, limits=Limits(body_seconds=0.8))
            port = await nursery.start(partial(serving, stop=trio.sleep_forever))
            async with served(auth=f"http://127.0.0.1:{port}", upstream_timeout=0.3) as gateway:
                async with trio.open_nursery() as clients:
                    for _ in range(6):
                        clients.start_soon(stall, gateway.port)
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
                    answer = await client.get("/auth/.well-known/jwks.json")
                counts = await gateway.counts()
            nursery.cancel_scope.cancel()
    assert statuses == [b"408"] * 6
    assert answer.status_code == 200
    assert counts.get("failure", 0) == 0
