"""Clients that send or read slowly are disconnected within the limits, and others are served meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.security.attacked_stack import SETTINGS, AttackedStack
from tests.security.load.raw_clients import connect, read_to_end

OF_EACH_KIND = 5
MARGIN_SECONDS = 5.0
"""A busy machine notices a limit later."""
LARGE_PAGE = "/docs/assets/swagger-ui-bundle.js"


def limit(name: str) -> float:
    return float(SETTINGS[name])


@contextmanager
def served_meanwhile(attacked: AttackedStack) -> Iterator[list[int]]:
    """The statuses of honest requests that go on during the block."""
    statuses: list[int] = []
    over = threading.Event()

    def call() -> None:
        with attacked.client() as client:
            while not over.is_set():
                statuses.append(client.get("/schools?limit=1", headers=attacked.ben.bearer).status_code)
                statuses.append(client.post("/auth/validate", headers=attacked.ben.bearer).status_code)
                time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        try:
            yield statuses
        finally:
            over.set()
            calls.result()


def drip(client: socket.socket, text: bytes, pause: float) -> bytes:
    """Send byte by byte until the gateway answers or closes; return its answer."""
    client.settimeout(pause)
    for at in range(len(text)):
        try:
            client.sendall(text[at : at + 1])
            return client.recv(4096)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("the whole request was accepted")


def post(path: str, bearer: dict[str, str]) -> bytes:
    """The head of a request whose body has 1,000 bytes."""
    token = bearer["Authorization"]
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: {token}\r\n\r\n".encode()
    )


@dataclass(frozen=True)
class SlowClient:
    """sends: at once. drips: then, byte by byte, every 0.3 s; empty: nothing more comes.

    ended_within: seconds. status: of the response.
    """

    sends: bytes
    drips: bytes
    ended_within: float
    status: int

    def run(self, attacked: AttackedStack, address: str) -> str:
        """The faults in how the gateway has ended the client's connection; empty if there are none."""
        with connect(attacked, address) as opened:
            began = time.monotonic()
            opened.sendall(self.sends)
            answer = drip(opened, self.drips, 0.3) if self.drips else read_to_end(opened)
            seconds = time.monotonic() - began
        is_right = answer.startswith(b"HTTP/1.1 %d" % self.status)
        if is_right and self.ended_within - 0.5 < seconds < self.ended_within + MARGIN_SECONDS:
            return ""
        return f"after {seconds:.1f} s: {answer[:100]!r}"


def slow_clients(attacked: AttackedStack) -> dict[str, SlowClient]:
    head, body = limit("CLIENT_HEADER_TIMEOUT"), limit("CLIENT_BODY_TIMEOUT")
    to_service = post("/schools", attacked.ann.bearer)
    to_page = post("/admin/breakers/reload", attacked.admin)
    return {
        "a slow head": SlowClient(b"GET /health HTTP/1.1\r\n", b"X-Slow: " + b"a" * 1000, head, 400),
        "a head that stops": SlowClient(b"GET /health HTTP/1.1\r\nHost:", b"", head, 400),
        # Each piece comes in time, but the whole body doesn't.
        "a slow body": SlowClient(to_service, b"x" * 1000, limit("CLIENT_UPLOAD_TIMEOUT"), 408),
        "a body that stops": SlowClient(to_service + b"{", b"", body, 408),
        "a slow body for a page": SlowClient(to_page, b"x" * 1000, limit("CLIENT_UPLOAD_TIMEOUT"), 408),
        "a body for a page that stops": SlowClient(to_page + b"{", b"", body, 408),
    }


def test_slow_clients_of_every_kind_are_ended_while_others_are_served(attacked: AttackedStack) -> None:
    address = attacked.address()
    clients = [one for one in slow_clients(attacked).items() for _ in range(OF_EACH_KIND)]
    with served_meanwhile(attacked) as statuses, ThreadPoolExecutor(len(clients)) as pool:
        ends = list(pool.map(lambda one: (one[0], one[1].run(attacked, address)), clients))
    assert [end for end in ends if end[1]] == []
    assert len(statuses) > 20
    assert set(statuses) == {200}


def test_clients_that_do_not_read_are_disconnected(attacked: AttackedStack) -> None:
    """The responses are larger than the buffers between the two."""
    size = len(attacked.stack.client.get(LARGE_PAGE).content)
    request = f"GET {LARGE_PAGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with ExitStack() as stack, served_meanwhile(attacked) as statuses:
        address = attacked.address()
        opened = [
            stack.enter_context(connect(attacked, address, receive_buffer=4096)) for _ in range(OF_EACH_KIND)
        ]
        for client in opened:
            client.sendall(request * 8)
        time.sleep(limit("CLIENT_WRITE_TIMEOUT") + 2)
        for client in opened:
            assert len(read_to_end(client)) < 8 * size
    assert set(statuses) == {200}
