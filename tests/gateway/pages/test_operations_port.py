"""OPERATIONS_PORT: the gateway's own pages are there, and no longer on the public port."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from deploy.demo.ephemeral_stack import free_ports
from tests.deploy.programs import program
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import ScriptedService, error_code
from tests.valkey import running_valkey

PAGES = (
    *("/", "/health", "/metrics", "/docs", "/docs/", "/docs/openapi.json", "/docs/assets/docs.js"),
    *("/dashboard", "/dashboard/", "/dashboard/events", "/dashboard/assets/main.js"),
    *("/admin/breakers", "/admin/breakers/auth-service-http", "/admin/breakers/reload"),
)
ROUTES = ("/auth/login", "/schools", "/students/1")


@pytest.fixture
async def clients(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Clients of the public port and of the operators' port."""
    async with in_process_gateway(services, operations_port=9080) as built:
        apps = built.app, built.app.extensions["operations_app"]
        public, operations = (
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") for app in apps
        )
        yield public, operations


Clients = tuple[httpx.AsyncClient, httpx.AsyncClient]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_the_public_port_has_no_page_but_livez_and_readyz(
    clients: Clients, method: str, path: str
) -> None:
    answer = await clients[0].request(method, path)
    assert error_code(answer) == (404, "NOT_FOUND")
    assert (await clients[0].get("/no/such")).json() == answer.json()


@pytest.mark.parametrize("path", [page for page in PAGES if page != "/dashboard/events"])
async def test_the_operators_port_has_every_page(clients: Clients, path: str) -> None:
    assert (await clients[1].get(path)).status_code in (200, 302, 401, 405)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_livez_and_readyz_are_on_both(clients: Clients, path: str) -> None:
    assert [(await client.get(path)).status_code for client in clients] == [200, 200]


@pytest.mark.parametrize("path", ROUTES)
async def test_the_operators_port_forwards_nothing(
    clients: Clients, services: dict[str, ScriptedService], path: str
) -> None:
    assert error_code(await clients[1].get(path)) == (404, "NOT_FOUND")
    assert (await clients[0].get(path)).status_code in (200, 401)
    assert len([one for service in services.values() for one in service.seen]) == (path == "/auth/login")


async def test_without_the_setting_one_port_has_all(services: dict[str, ScriptedService]) -> None:
    async with in_process_gateway(services) as built:
        assert built.app.extensions["operations_app"] is None
        assert (await built.client().get("/livez")).status_code == 200
        assert (await built.client().get("/docs")).status_code == 200


async def listening(port: int) -> None:
    with trio.fail_after(60):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.05)
            else:
                return


async def status(port: int, path: str) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}")).status_code


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_process_listens_on_both_ports_and_stops(tmp_path: Path, workers: int) -> None:
    """With several workers the parent keeps both ports: any worker serves either."""
    with ExitStack() as stack:
        public, operations = free_ports(2)
        settings = {"GATEWAY_PORT": public, "OPERATIONS_PORT": operations, "GATEWAY_WORKERS": workers}
        environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
        if workers > 1:
            environment["VALKEY_URL"] = stack.enter_context(running_valkey()).url
        process = stack.enter_context(
            program([sys.executable, "-m", "gateway"], tmp_path / "log", env=environment)
        )
        for port in (public, operations):
            await listening(port)
        assert process.poll() is None, (tmp_path / "log").read_text()
        for _ in range(10):
            assert await status(public, "/livez") == 200
            assert await status(public, "/health") == 404
            assert await status(operations, "/livez") == 200
            assert await status(operations, "/health") in (200, 503)
            assert await status(operations, "/auth/x") == 404
        process.terminate()
        assert await trio.to_thread.run_sync(process.wait, 20) == 0
        for port in (public, operations):
            with pytest.raises(OSError, match="."):
                await trio.open_tcp_stream("127.0.0.1", port)
