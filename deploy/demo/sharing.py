"""The demo's act of two gateways: one of them is sick, then the service is, then what they share is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.config import HOST, LOOPBACK, ROOT
from deploy.demo.console import console, expect
from deploy.demo.ephemeral_stack import EphemeralStack, free_ports, wait_for
from deploy.demo.forwarder import Forwarder
from protocols.topology import API_GATEWAY, AUTH_SERVICE, VALKEY

START_SECONDS = 20.0


@dataclass(frozen=True)
class Gateway:
    """One gateway of the two, as its clients see it."""

    name: str
    client: httpx.Client

    def login(self) -> httpx.Response:
        """Log in with a wrong password: 401 if the auth service answers."""
        return self.client.post("/auth/login", json={"email": "no@example.org", "password": "no one's"})

    def health(self) -> dict[str, Any]:
        """The data of its health page."""
        data: dict[str, Any] = self.client.get("/health").json()["data"]
        return data

    def state(self) -> str:
        """The state of its breaker to the auth service."""
        return str(self.health()["auth"]["circuit_breaker"]["state"])

    def is_connected(self) -> bool:
        """Whether it shares its breakers now."""
        return bool(self.health()["sharing"]["connected"])


def run_sharing(stack: EphemeralStack, reset_timeout: float) -> None:
    """Run the act. Raises DemoFailed at the first unexpected result."""
    console.rule("[bold]Two gateways share what they see")
    target = stack.config.ports_of(AUTH_SERVICE)[0]
    with Forwarder(HOST, target) as way, second_gateway(stack, way.port) as second:
        first = Gateway("first", stack.client)
        both = (first, second)
        expect("each gateway is connected to Valkey", True, wait_for(lambda: all_connected(both), 5))
        console.print("  A second gateway runs. Its way to the auth service can be cut.")
        _one_is_sick(first, second, way, reset_timeout)
        _both_fail(stack, both, reset_timeout)
        _store_is_gone(stack, both)


def all_connected(gateways: tuple[Gateway, ...]) -> bool:
    """Whether all of them share their breakers."""
    return all(one.is_connected() for one in gateways)


def _one_is_sick(first: Gateway, second: Gateway, way: Forwarder, reset_timeout: float) -> None:
    way.cut()
    console.print("  [bold]Only the second gateway can't reach the auth service.[/] Logins by turns:")
    for _ in range(5):
        show(second, second.login(), 502)
        show(first, first.login(), 401)
    show(second, second.login(), 503)
    expect("states", ("CLOSED", "OPEN"), (first.state(), second.state()))
    console.print("  The first gateway sees the service work, so only the second one's breaker opens.")
    way.mend()
    expect("the second gateway's breaker is HALF_OPEN", True, becomes(second, "HALF_OPEN", reset_timeout))
    show(second, second.login(), 401)
    expect("state", "CLOSED", second.state())


def _both_fail(stack: EphemeralStack, both: tuple[Gateway, Gateway], reset_timeout: float) -> None:
    first, second = both
    console.print(f"[bold cyan]$ uv run just stop {AUTH_SERVICE}[/]")
    stack.run("stop", AUTH_SERVICE)
    for gateway in (first, second, first, second, first):
        show(gateway, gateway.login(), 502)
    for gateway in both:
        expect(f"the {gateway.name} gateway's breaker is OPEN", True, becomes(gateway, "OPEN", 1.0))
        show(gateway, gateway.login(), 503)
    console.print("  Five failures of both together opened both: three at the one, two at the other.")
    stack.run("start", AUTH_SERVICE)
    half_open = lambda: sorted(one.state() for one in both) == ["HALF_OPEN", "OPEN"]  # noqa: E731
    expect("one gateway has the lease of the probe", True, wait_for(half_open, reset_timeout + 3))
    prober = next(one for one in both if one.state() == "HALF_OPEN")
    console.print(f"  The {prober.name} gateway alone may probe.")
    show(prober, prober.login(), 401)
    for gateway in both:
        expect(f"the {gateway.name} gateway's breaker is CLOSED", True, becomes(gateway, "CLOSED", 1.0))
    console.print("  Its probe has succeeded, and both breakers are [green]CLOSED[/].")


def _store_is_gone(stack: EphemeralStack, both: tuple[Gateway, Gateway]) -> None:
    console.print(f"[bold cyan]$ uv run just stop {VALKEY}[/]")
    stack.run("stop", VALKEY)
    gone = wait_for(lambda: not any(one.is_connected() for one in both), 6)
    expect("both gateways notice that Valkey is gone", True, gone)
    for gateway in both:
        show(gateway, gateway.login(), 401)
    console.print("  Each breaker protects its own process, and calls go on as before.")
    stack.run("start", VALKEY)
    expect("both gateways are connected again", True, wait_for(lambda: all_connected(both), 5))
    console.print("  Valkey is back, and the gateways share again.")


def show(gateway: Gateway, response: httpx.Response, expected: int) -> None:
    """Print a response, and expect its status."""
    code = response.json().get("error", "")
    console.print(f"  login at the {gateway.name} gateway: [bold]{response.status_code}[/] {code}")
    expect(f"status of a login at the {gateway.name} gateway", expected, response.status_code)


def becomes(gateway: Gateway, state: str, within: float) -> bool:
    """Whether its breaker gets into a state in time. within: seconds, with two more for a slow machine."""
    return wait_for(lambda: gateway.state() == state, within + 2)


@contextmanager
def second_gateway(stack: EphemeralStack, auth_port: int) -> Iterator[Gateway]:
    """Run one more gateway beside the stack's own, which reaches the auth service by `auth_port`."""
    port = free_ports(1)[0]
    environment = {
        **stack.environment(API_GATEWAY),
        "GATEWAY_PORT": str(port),
        "AUTH_SERVICE_URL": f"http://{HOST}:{auth_port}",
    }
    with (stack.config.logs / "second-gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    client = httpx.Client(base_url=f"http://{HOST}:{port}", timeout=15.0, **LOOPBACK)
    try:
        expect("the second gateway starts", True, wait_for(lambda: _is_up(client), START_SECONDS))
        yield Gateway("second", client)
    finally:
        client.close()
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False
