"""SIGKILL of each process: supervisor restarts it, and no acknowledged write is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter

import httpx
import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.stack.running import RunningStack, registration_numbers

pytestmark = pytest.mark.resilience

WRITERS = 4
KILLS = 3


@pytest.mark.parametrize("name", ["auth-service", "school-service", "student-service", "api-gateway"])
def test_supervisor_restarts_a_killed_process(running: RunningStack, name: str) -> None:
    """All breakers close again, and tokens stay valid."""
    stack = running.stack
    killed = stack.kill(name)

    def replaced() -> bool:
        try:
            return stack.pid(name) != killed
        except LookupError:
            return False

    assert wait_for(replaced, 10)
    assert wait_for(lambda: answers(running), 15)
    assert running.all_closed()
    assert running.call("GET", "/schools").status_code == 200, "the token from before the crash still holds"


def test_killing_mongod_three_times_loses_no_acknowledged_write(running: RunningStack) -> None:
    """Each school whose creation returned 201 exists once."""
    stop = threading.Event()
    created: list[str] = []
    seen: Counter[int] = Counter()
    killed: set[int] = set()
    threads = [
        threading.Thread(target=write, args=(running, f"W{number}", stop, created, seen))
        for number in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            # Wait for acknowledged writes before each kill, so that the breaker is closed.
            before = len(created)
            assert wait_for(lambda before=before: len(created) >= before + 40, 30), seen
            killed.add(running.stack.kill("mongodb"))
            time.sleep(0.5)
        before = len(created)
        assert wait_for(lambda: len(created) >= before + 40, 30), seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert len(killed | {running.stack.pid("mongodb")}) == KILLS + 1, "each kill ended another mongod"
    # The driver repeats a failed write once, so that few failures reach the client.
    assert set(seen) <= {201, 409, 502, 503, 504}
    kept = Counter(registration_numbers(running))
    assert {number: kept[number] for number in created if kept[number] != 1} == {}


def test_tokens_are_verified_after_a_restart_without_the_auth_service(running: RunningStack) -> None:
    """Gateway and school service restart while the auth service is stopped."""
    running.stack.run("stop", "auth-service")
    running.stack.run("restart", "api-gateway")
    assert running.call("GET", "/schools").status_code == 200
    running.stack.run("restart", "school-service")
    assert running.call("GET", "/schools").status_code == 200


def write(
    running: RunningStack, prefix: str, stop: threading.Event, created: list[str], seen: Counter[int]
) -> None:
    """Create schools one after the other. Adds acknowledged ones to `created`, statuses to `seen`."""
    with httpx.Client(base_url=running.stack.config.gateway, timeout=15, trust_env=False) as client:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"{prefix}-{number}"
            body = {"registration_number": name, "name": name}
            answer = client.post("/schools", headers=running.bearer, json=body)
            seen[answer.status_code] += 1
            if answer.status_code == 201:
                created.append(name)
            time.sleep(0.01)


def answers(running: RunningStack) -> bool:
    """Whether the gateway's /livez returns 200."""
    try:
        return running.stack.client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
