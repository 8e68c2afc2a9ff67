"""Clients that disconnect and clients that send invalid requests, on the real stack."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.stack.running import RunningStack

BREAKERS = ("school-service-http", "school-database")


def sample(running: RunningStack, breaker: str) -> dict[str, Any]:
    """The entry of one breaker in the gateway's /health."""
    data = running.stack.client.get("/health").json()["data"]
    for part in data.values():
        if part.get("circuit_breaker", {}).get("name") == breaker:
            return dict(part["circuit_breaker"])
        if breaker in part.get("dependencies", {}):
            return dict(part["dependencies"][breaker]["circuit_breaker"])
    raise AssertionError(f"/health has no {breaker}")


def test_a_disconnected_client_cancels_its_calls_in_all_processes(running: RunningStack) -> None:
    """Gateway and service stop waiting for the frozen database within 0.5 s, and count no failure.

    What /health has of the services is up to a second old.
    """
    before = {name: sample(running, name) for name in BREAKERS}
    pid = running.stack.pid("mongodb")
    os.kill(pid, signal.SIGSTOP)
    try:
        host, _, port = running.stack.config.gateway.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            token = running.bearer["Authorization"]
            client.sendall(f"GET /schools HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
            assert wait_for(lambda: sample(running, "school-database")["in_flight"] == 1, 4)
        assert wait_for(lambda: all(sample(running, name)["in_flight"] == 0 for name in before), 1.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.1)
    for name, earlier in before.items():
        now = sample(running, name)
        assert now["calls"]["cancelled"] == earlier["calls"]["cancelled"] + 1, name
        assert now["calls"]["failure"] == earlier["calls"]["failure"], name


LONG = "x" * 2_000_000
INVALID = [
    ("POST", "/auth/login", b"not JSON"),
    ("POST", "/auth/login", b"\xff\xfe"),
    ("POST", "/auth/login", b"[" * 100_000),
    ("POST", "/auth/login", {"email": {"$ne": None}, "password": {"$gt": ""}}),
    ("POST", "/auth/login", {"email": ["a@b.co"], "password": 1}),
    (
        "POST",
        "/auth/signup",
        {"email": "a@b.co", "password": "secret1", "first_name": LONG, "last_name": "L"},
    ),
    (
        "POST",
        "/auth/signup",
        {"email": "a\x00@b.co", "password": "secret1", "first_name": "A", "last_name": "L"},
    ),
    ("GET", "/auth/signup", None),
    ("GET", "/schools/1e9", None),
    ("GET", "/schools/-1", None),
    ("GET", "/schools/99999999999999999999999999", None),
    ("GET", "/schools/%D9%A3", None),
    ("GET", "/schools/..%2f..%2fhealth", None),
    ("GET", "/schools/../students/../admin", None),
    ("GET", "/schools?limit=1e3", None),
    ("GET", "/schools?after=$ne", None),
    ("POST", "/schools", {"registration_number": {"$ne": None}, "name": "N"}),
    ("POST", "/schools", {"registration_number": "R-9", "name": LONG}),
    ("POST", "/schools", b'{"registration_number": "\\ud800", "name": "N"}'),
    ("PUT", "/schools/1", b"[]"),
    ("DELETE", "/students/abc", None),
    ("POST", "/students", {"roll_number": "9", "first_name": "a", "last_name": "b", "school_id": "1e9"}),
    (
        "POST",
        "/students",
        {"roll_number": "9", "first_name": "a", "last_name": "b", "school_id": 1, "date_of_birth": "31/02"},
    ),
    ("GET", "/students/school/0x1", None),
    ("PATCH", "/students/1", {}),
    ("GET", "/nowhere", None),
]


@pytest.mark.parametrize(("method", "path", "body"), INVALID, ids=range(len(INVALID)))
def test_an_invalid_request_returns_4xx_and_the_error_body(
    running_once: RunningStack, method: str, path: str, body: Any
) -> None:
    """Never a 5xx or a traceback."""
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    headers = {**running_once.bearer, "Content-Type": "application/json"}
    answer = running_once.stack.client.request(method, path, content=raw, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json()) == {"error", "message"}
    assert "Traceback" not in answer.text
