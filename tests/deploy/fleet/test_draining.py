"""Two real gateways behind HAProxy: one of them stops, and no client notices."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from deploy.demo.ephemeral_stack import free_ports
from deploy.programs.load_balancer import render
from tests.deploy.fleet.backends import haproxy
from tests.deploy.programs import gateway, seconds_to_end


@pytest.mark.resilience  # test_instances has the same of the whole stack
def test_a_gateway_that_stops_costs_no_request(tmp_path: Path) -> None:
    settings = {"SHUTDOWN_DELAY": "4", "TRUSTED_PROXIES": "127.0.0.1"}
    (port,) = free_ports(1)
    with (
        gateway(tmp_path / "one", **settings) as (stopping, first),
        gateway(tmp_path / "two", **settings) as (_, second),
        haproxy(
            render(f"127.0.0.1:{port}", [first.base_url.netloc.decode(), second.base_url.netloc.decode()]),
            tmp_path,
            port,
        ),
    ):
        statuses: list[int] = []
        done = threading.Event()
        url = f"http://127.0.0.1:{port}/"
        thread = threading.Thread(target=request_until, args=(done, url, statuses))
        thread.start()
        try:
            assert seconds_to_end(stopping) >= 4
        finally:
            done.set()
            thread.join()
    assert len(statuses) > 20
    assert set(statuses) == {302}


def request_until(done: threading.Event, url: str, statuses: list[int]) -> None:
    """One request after the other, each on a connection of its own, until `done`, and ten more."""
    left = 10
    while left:
        left -= done.is_set()
        try:
            statuses.append(httpx.get(url, trust_env=False, timeout=10).status_code)
        except httpx.HTTPError:
            statuses.append(0)
        done.wait(0.05)
