"""Breakers by route, and probes that end an outage early."""

import httpx
import pytest
import trio

from actors.messages import State
from gateway.upstream.breakers import http_probe, with_http_probes
from gateway.upstream.pool import ConnectionPoolTransport
from runtime.config.policy_file import load_configuration
from runtime.config.route_pattern import RoutePattern
from tests.gateway.raw_requests import GET, ask
from tests.gateway.running_gateway import in_process_gateway, served
from tests.gateway.wire import Peer, answering, ok, upstream

REPORT = {"auth-service-http": {"report": (RoutePattern.parse("GET /auth/report/*"),)}}
FAILED = b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"


async def failing_reports(peer: Peer):
    while True:
        request = await peer.request()
        await peer.send(FAILED if b"/report/" in request else ok())


def get(path):
    return GET.replace(b"/auth/x", path)


async def test_a_bad_route_with_a_breaker_of_its_own_leaves_the_rest_alone():
    async with upstream(failing_reports) as server, served(auth=server.url, routes=REPORT) as gateway:
        statuses = [(await ask(gateway.port, get(b"/auth/report/7?x=1")))[0] for _ in range(6)]
        assert statuses == [500] * 5 + [503]
        assert (await ask(gateway.port, get(b"/auth/login")))[0] == 200
        assert (await gateway.snapshot("auth-service-http:report")).state is State.OPEN
        assert (await gateway.snapshot()).state is State.CLOSED


async def test_without_routes_each_service_has_one_breaker():
    async with upstream(failing_reports) as server, served(auth=server.url) as gateway:
        for _ in range(5):
            await ask(gateway.port, get(b"/auth/report/7"))
        assert (await ask(gateway.port, get(b"/auth/login")))[0] == 503
        assert len(gateway.panel) == 3


async def test_health_shows_the_breakers_of_routes():
    nowhere = ConnectionPoolTransport("http://127.0.0.1:1")
    transports = dict.fromkeys(("auth", "school", "student"), nowhere)
    async with in_process_gateway(transports, routes=REPORT) as gateway:
        await gateway.panel["auth-service-http:report"].trip()
        answer = await gateway.client().get("/health")
        part = answer.json()["data"]["auth"]
        assert answer.status_code == 503
        assert part["status"] == "healthy"
        assert part["routes"]["auth-service-http:report"]["status"] == "unhealthy"


async def test_a_probe_sends_get_with_its_path():
    seen = []

    async def script(peer: Peer):
        seen.append(await peer.request())
        await peer.send(ok())

    async with upstream(script) as server:
        await http_probe(ConnectionPoolTransport(server.url), "/readyz?x")()
    assert seen[0].startswith(b"GET /readyz?x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer", [FAILED, b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\n\r\n", b"garbage\r\n\r\n"]
)
async def test_a_probe_with_an_error_status_fails(answer):
    async with upstream(answering(answer)) as server:
        with pytest.raises(httpx.HTTPError):
            await http_probe(ConnectionPoolTransport(server.url), "/readyz")()


async def test_a_short_restart_is_over_with_the_first_probe(tmp_path):
    """It doesn't cost the rest of the reset timeout."""
    down = True

    async def script(peer: Peer):
        await peer.request()
        if not down:
            await peer.send(ok())

    file = tmp_path / "breakers.toml"
    file.write_text(
        "[breakers.auth-service-http]\nmax_failures = 1\nprobe_interval = 0.1\n"
        'probe = { kind = "http", path = "/readyz" }\n'
    )
    configuration = load_configuration(file, "default")
    async with upstream(script) as server, served(auth=server.url) as gateway:
        policies = with_http_probes(configuration, gateway.transports)
        breaker = gateway.panel["auth-service-http"]
        await breaker.configure(policies["auth-service-http"])
        await breaker.trip()
        await trio.sleep(0.3)
        assert breaker.state is State.OPEN
        down = False
        with trio.fail_after(2):
            await breaker.wait_closed()
        assert (await ask(gateway.port))[0] == 200
