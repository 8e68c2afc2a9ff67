"""kill -9 of each process: supervisor brings it back, and what was acknowledged is there."""

from __future__ import annotations

import threading
import time
from collections import Counter

import httpx
import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.stack.running import Running, registration_numbers

pytestmark = pytest.mark.resilience

WRITERS = 4
KILLS = 3


@pytest.mark.parametrize("name", ["auth-service", "school-service", "student-service", "api-gateway"])
def test_a_killed_service_comes_back(running: Running, name: str) -> None:
    """Another process takes its place, and every breaker is closed again."""
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


def test_killing_mongod_under_four_writers_loses_nothing(running: Running) -> None:
    """Three times; each school that was answered 201 is there afterwards, once."""
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
            # Each kill hits while writes are being acknowledged, not while the breaker is still open.
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
    assert len(killed | {running.stack.pid("mongodb")}) == KILLS + 1, "each kill hit another mongod"
    # A write that found mongod gone is tried again by the driver, so that failures may be few.
    assert set(seen) <= {201, 409, 502, 503, 504}
    kept = Counter(registration_numbers(running))
    assert {number: kept[number] for number in created if kept[number] != 1} == {}


def test_keys_outlive_the_auth_service(running: Running) -> None:
    """A gateway that starts while the auth service is away still knows whose token it is."""
    running.stack.run("stop", "auth-service")
    running.stack.run("restart", "api-gateway")
    assert running.call("GET", "/schools").status_code == 200
    running.stack.run("restart", "school-service")
    assert running.call("GET", "/schools").status_code == 200


def write(
    running: Running, prefix: str, stop: threading.Event, created: list[str], seen: Counter[int]
) -> None:
    """Creates schools one after the other, and notes those that were acknowledged."""
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


def answers(running: Running) -> bool:
    """Whether the gateway answers at all."""
    try:
        return running.stack.client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False
