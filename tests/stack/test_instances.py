"""A real stack of two gateways behind HAProxy."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from deploy import procfs
from deploy.config import find_haproxy
from deploy.demo.ephemeral_stack import EphemeralStack, wait_for

NAMES = ("api-gateway", "api-gateway-2")
LIMIT = 20


@pytest.fixture(scope="module")
def several() -> Iterator[EphemeralStack]:
    """The stack; a gateway answers 429 to a client after LIMIT requests in a minute."""
    if find_haproxy() is None:
        pytest.skip("there is no haproxy: apt-get install haproxy")
    with EphemeralStack(GATEWAY_INSTANCES="2", RATE_LIMIT_PER_MINUTE=str(LIMIT)) as stack:
        yield stack
        stack.run("down")
        assert procfs.processes_of(stack.config.folder) == []


def client_at(stack: EphemeralStack, address: str) -> httpx.Client:
    """A client with this address of the host's own."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=stack.config.gateway, transport=transport, timeout=15.0)


def test_requests_through_the_gateways_port_reach_both_gateways(several: EphemeralStack) -> None:
    """Each gateway is a process of its own."""
    stack = several
    assert stack.run("status").stdout.count("RUNNING") == 8
    assert len({stack.pid(name) for name in (*NAMES, "load-balancer")}) == 3
    for number in range(10):
        with client_at(stack, "127.0.0.9") as client:  # a new connection each time
            client.get("/nowhere", headers={"X-Request-ID": f"seek-{number}"})
    for name in NAMES:
        assert wait_for(lambda name=name: "seek-" in stack.run("logs", name).stdout, 5), name  # type: ignore[misc]
    assert stack.run("health").returncode == 0


def test_limits_see_the_clients_address_and_not_haproxys(several: EphemeralStack) -> None:
    """A client's own X-Forwarded-For doesn't help it."""
    with client_at(several, "127.0.0.2") as greedy, client_at(several, "127.0.0.3") as other:
        seen = Counter(
            greedy.get(
                "/auth/.well-known/jwks.json", headers={"X-Forwarded-For": f"10.0.0.{number}"}
            ).status_code
            for number in range(3 * LIMIT)
        )
        assert seen[429] > 0, seen
        assert other.get("/auth/.well-known/jwks.json").status_code == 200


def test_a_gateway_that_is_stopped_costs_no_request(several: EphemeralStack) -> None:
    """stop, start and restart take its name."""
    stack = several
    seen: Counter[int] = Counter()
    leaving = threading.Event()

    def ask() -> None:
        while not leaving.is_set():
            with client_at(stack, "127.0.0.4") as client:
                seen[client.get("/livez").status_code] += 1
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = stack.run("stop", "api-gateway-2")
        port = stack.config.ports_of("api-gateway-2")[0]
        assert f"api-gateway-2 is stopped. 127.0.0.1:{port} now refuses connections." in done.stdout
        assert not procfs.accepts_connections(port)
        before = seen[200]
        assert wait_for(lambda: seen[200] > before + 20, 20), seen
        stack.run("start", "api-gateway-2")
        stack.run("restart", "api-gateway")
    finally:
        leaving.set()
        asking.join()
    assert set(seen) == {200}, seen
