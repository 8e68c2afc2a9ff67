"""The gateway's own pages under load: rate limits, one question a second to the services, and places."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
import trio.testing
from pydantic import SecretStr

from gateway.dashboard import places
from gateway.dashboard.places import StreamPlaces
from gateway.pages.service_reports import FETCH_SECONDS, ServiceReports
from gateway.proxy.trusted_proxies import TrustedProxies, read_networks
from runtime.admin.api import AdminAuthenticator
from runtime.web.errors import ApiError
from tests.gateway.pages.test_health import BROKEN, REPORT
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import ScriptedService, error_code
from tests.tokens import Issuer


async def test_pages_have_a_rate_limit_of_their_own_but_for_livez_and_readyz(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    async with in_process_gateway(services, rate_limit_per_minute=3) as gateway:
        client = gateway.client()
        paths = ("/health", "/metrics", "/docs", "/dashboard", "/admin/breakers", "/health")
        answers = [await client.get(path) for path in paths]
        assert [one.status_code for one in answers] == [200, 200, 200, 429, 429, 429]
        assert error_code(answers[3]) == (429, "RATE_LIMITED")
        assert answers[3].headers["ratelimit-limit"] == "3"
        assert int(answers[3].headers["retry-after"]) <= 60
        for path in ("/livez", "/readyz"):
            assert [(await client.get(path)).status_code for _ in range(5)] == [200] * 5
        # The limit takes nothing from other clients or from forwarded requests.
        assert (await gateway.client("192.0.2.2").get("/health")).status_code == 200
        assert [(await client.get("/auth/x")).status_code for _ in range(4)] == [200, 200, 200, 429]


async def test_a_page_may_load_its_assets(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    """They are limited too, to ten for each page."""
    async with in_process_gateway(services, rate_limit_per_minute=2) as gateway:
        client = gateway.client()
        statuses = [(await client.get("/docs/assets/docs.js")).status_code for _ in range(21)]
        assert statuses == [200] * 20 + [429]
        assert (await client.get("/docs")).status_code == 200


async def test_the_client_of_a_page_is_behind_its_trusted_proxy_and_an_ipv6_64(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    async with in_process_gateway(services, rate_limit_per_minute=1, trusted_proxies="192.0.2.1") as gateway:
        client = gateway.client()
        found = [
            (await client.get("/health", headers={"X-Forwarded-For": address})).status_code
            for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "198.51.100.1", "198.51.100.1")
        ]
        assert found == [200, 429, 200, 200, 429]


class Counting(httpx.AsyncBaseTransport):
    """A service that counts requests for its health, and takes a while to answer them."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked = 0
        self.seconds = seconds
        self.report: Any = REPORT

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += request.url.path == "/health"
        await trio.sleep(self.seconds)
        return httpx.Response(200, json={"message": "m", "data": {"auth-database": self.report}})


async def test_services_are_asked_for_health_once_a_second_for_all_together(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    auth = Counting(seconds=0.2)
    async with in_process_gateway({**services, "auth": auth}) as gateway:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(gateway.client(f"192.0.2.{number}").get, "/health")
        assert auth.asked == 1
        for _ in range(30):
            await trio.sleep(0.1)
            await gateway.client().get("/health")
        assert auth.asked <= 4


async def test_a_report_is_at_most_a_second_old_and_the_gateways_own_breaker_never(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    auth = Counting()
    async with in_process_gateway({**services, "auth": auth}) as gateway:
        client = gateway.client()
        assert (await client.get("/health")).status_code == 200
        auth.report = BROKEN
        await gateway.panel["school-service-http"].force_open()
        data = (await client.get("/health")).json()["data"]
        assert data["school"]["status"] == "unhealthy"
        assert data["auth"]["dependencies"]["auth-database"]["status"] == "healthy"
        await trio.sleep(1)
        data = (await client.get("/health")).json()["data"]
        assert data["auth"]["dependencies"]["auth-database"]["status"] == "unhealthy"


async def test_requests_wait_for_a_hanging_service_once(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    """This also holds if the client whose request began the fetch leaves."""
    auth = Counting(seconds=60)
    async with in_process_gateway({**services, "auth": auth}) as gateway:
        reports = ServiceReports(gateway.app.extensions["dashboard_feed"]._upstreams)
        began, took = trio.current_time(), []

        async def ask(patience: float) -> None:
            with trio.move_on_after(patience):
                await reports.latest()
                took.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0.1)
            await trio.sleep(0.01)
            for _ in range(20):
                nursery.start_soon(ask, 60)
        assert auth.asked == 1
        assert len(took) >= 20
        assert max(took) == pytest.approx(FETCH_SECONDS)


async def test_documents_are_fetched_once_in_two_seconds_for_all_together(
    services: dict[str, ScriptedService], autojump_clock: trio.testing.MockClock
) -> None:
    """This is while a document is missing; afterwards they are fetched once a minute."""
    asked = []

    class Missing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            await trio.sleep(0.1)
            raise httpx.ConnectError("down")

    async with in_process_gateway({**services, "auth": Missing()}) as gateway:
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(gateway.client(f"192.0.2.{number}").get, "/docs/openapi.json")
        assert asked == ["/openapi.json"]
        await trio.sleep(2.5)
        await gateway.client().get("/docs/openapi.json")
        assert len(asked) == 2


def scope(address: str, *fields: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "client": (address, 1), "headers": list(fields)}


class Taken:
    """Stream places that are held for the rest of a test."""

    def __init__(self, admin_token: str, proxies: str = "") -> None:
        issuer = Issuer()
        authenticator = AdminAuthenticator(issuer.keys, SecretStr(admin_token))
        self.places = StreamPlaces(TrustedProxies(read_networks(proxies)), authenticator)
        self.held: list[Any] = []

    def take(self, address: str, *fields: tuple[bytes, bytes]) -> bool:
        one = self.places.place(scope(address, *fields))
        try:
            one.__enter__()
        except ApiError as error:
            assert (error.status, error.retry_after) == (503, places.RETRY_SECONDS)
            return False
        self.held.append(one)
        return True


TOKEN = "x" * 32
ADMIN = (b"authorization", b"Bearer " + TOKEN.encode())


def test_a_client_has_a_share_of_the_places_for_streams() -> None:
    taken = Taken(TOKEN)
    assert [taken.take(f"2001:db8::{n:x}") for n in range(21)] == [True] * 20 + [False]
    assert taken.take("2001:db8:0:1::1")
    taken.held[0].__exit__(None, None, None)
    assert taken.take("2001:db8::1")


def test_the_last_places_are_kept_for_admins() -> None:
    taken = Taken(TOKEN)
    assert all(taken.take(f"192.0.2.{n}") for n in range(90))
    assert not taken.take("198.51.100.1")
    assert all(taken.take("192.0.2.1", ADMIN) for _ in range(10))
    assert not taken.take("192.0.2.1", ADMIN)


def test_another_token_takes_no_place_of_the_admins() -> None:
    taken = Taken(TOKEN)
    for n in range(90):
        taken.take(f"192.0.2.{n}")
    with pytest.raises(ApiError) as raised:
        taken.places.place(scope("198.51.100.1", (b"authorization", b"Bearer y"))).__enter__()
    assert raised.value.status == 401


def test_bad_tokens_for_the_places_of_admins_are_limited() -> None:
    """For each client behind a trusted proxy."""
    taken = Taken(TOKEN, proxies="10.0.0.1")
    for n in range(90):
        taken.take(f"192.0.2.{n}")

    def status(client: bytes) -> int:
        fields = (b"authorization", b"Bearer y"), (b"x-forwarded-for", client)
        with pytest.raises(ApiError) as raised:
            taken.places.place(scope("10.0.0.1", *fields)).__enter__()
        return raised.value.status

    assert [status(b"198.51.100.1") for _ in range(31)] == [401] * 30 + [429]
    assert status(b"198.51.100.2") == 401


def test_clients_behind_a_trusted_proxy_have_their_own_shares() -> None:
    taken = Taken(TOKEN, proxies="10.0.0.1")
    for n in range(4):
        client = (b"x-forwarded-for", b"192.0.2.%d" % n)
        assert [taken.take("10.0.0.1", client) for _ in range(21)] == [True] * 20 + [False]
