"""Clients that disconnect and clients that send invalid requests, on the real stack."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.stack.running import RunningStack

PLACES = {
    "school-service-http": ("api-gateway", "school"),
    "school-database": ("school-service", "school-database"),
}
"""The process of each breaker, and its key in that process's /health."""


def sample(running: RunningStack, breaker: str) -> dict[str, Any]:
    """A breaker's entry in its own process's /health: the gateway's report of it may be a second old."""
    process, key = PLACES[breaker]
    port = running.stack.config.ports_of(process)[0]
    data = running.stack.client.get(f"http://127.0.0.1:{port}/health").json()["data"]
    return dict(data[key]["circuit_breaker"])


def received(client: socket.socket) -> bytes:
    """What has arrived so far."""
    client.setblocking(False)
    try:
        return client.recv(65536)
    except BlockingIOError:
        return b"nothing"


def test_a_disconnected_client_cancels_its_calls_in_all_processes(running: RunningStack) -> None:
    """Gateway and service stop waiting for the frozen database, and count no failure."""
    before = {name: sample(running, name) for name in PLACES}
    pid = running.stack.pid("mongodb")
    os.kill(pid, signal.SIGSTOP)
    try:
        host, _, port = running.stack.config.gateway.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            token = running.bearer["Authorization"]
            client.sendall(f"GET /schools HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode())
            arrived = wait_for(lambda: sample(running, "school-database")["in_flight"] == 1, 4)
            assert arrived, received(client)
        # Less than the 5 s after which the operation would fail by itself.
        assert wait_for(lambda: all(sample(running, name)["in_flight"] == 0 for name in PLACES), 4)
    finally:
        os.kill(pid, signal.SIGCONT)
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
