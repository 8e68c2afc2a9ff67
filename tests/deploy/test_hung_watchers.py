"""Observers that hang: requests stay as fast, memory stays bounded, and the process ends in time.

Each test alternates between two gateways, one with observers that hang and one without.
"""

from __future__ import annotations

import http.client
import re
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.demo.ephemeral_stack import wait_for
from tests.deploy.programs import gateway, receiver, seconds_to_end, upstream

pytestmark = pytest.mark.resilience

ROUNDS = 11
CALLS = 50
MOVES = 15
"""Changes of state per round, so that there is something to report."""
SLOWER = 1.4
MEGABYTES = 15
TOKEN = "token-of-the-operators-0123456789"
SETTINGS = {"ADMIN_TOKEN": TOKEN, "RATE_LIMIT_PER_MINUTE": "1000000"}


@dataclass
class Side:
    """One of the two gateways. slowest: seconds of its slowest request."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    connection: http.client.HTTPConnection
    slowest: float = 0.0

    @property
    def port(self) -> int:
        assert self.client.base_url.port
        return self.client.base_url.port

    def round(self) -> float:
        """Run one round, and return the seconds of its requests."""
        for _ in range(MOVES):
            for action in ("trip", "reset"):
                self.request("POST", f"/admin/breakers/student-service-http/{action}")
        # A scrape mustn't wait for the observers that hang.
        self.request("GET", "/metrics")
        return sum(self.request("GET", "/auth/ok") for _ in range(CALLS))

    def request(self, method: str, path: str) -> float:
        """Send one request, and return its seconds."""
        began = time.perf_counter()
        self.connection.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 200, path
        seconds = time.perf_counter() - began
        self.slowest = max(self.slowest, seconds)
        return seconds

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


@contextmanager
def side(folder: Path, service: str, **settings: str) -> Iterator[Side]:
    with gateway(folder, service, **SETTINGS, **settings) as (process, client):
        connection = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=20)
        try:
            yield Side(process, client, connection)
        finally:
            connection.close()


class Hung:
    """A server that accepts connections and neither reads nor responds; and clients that never read."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.sockets.append(self.listener.accept()[0])
            except OSError:
                return

    def send_requests(self, port: int, path: str, *, clients: int = 20, times: int = 1) -> None:
        """Send `times` requests on each of `clients` connections, and read none of the responses."""
        for _ in range(clients):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", port))
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: it\r\n\r\n".encode() * times)
            self.sockets.append(one)
        for one in self.sockets:
            one.settimeout(10)
            assert one.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 200"

    def close(self) -> None:
        for one in (self.listener, *self.sockets):
            one.close()


@pytest.fixture
def hung() -> Iterator[Hung]:
    found = Hung()
    yield found
    found.close()


def compare(
    tmp_path: Path, plain: dict[str, str], watched: dict[str, str], hang: Callable[[Side], None]
) -> Side:
    """Compare time and memory of two gateways, of which `hang` makes one hang; then end that one."""
    with ExitStack() as stack:
        service = stack.enter_context(upstream(tmp_path))
        free = stack.enter_context(side(tmp_path / "free", service, **plain))
        it = stack.enter_context(side(tmp_path / "watched", service, **watched))
        hang(it)
        for one in (free, it):
            one.round()
        before = [one.megabytes() for one in (free, it)]
        rounds = [(free.round(), it.round()) for _ in range(ROUNDS)]
        ratios = [ours / theirs for theirs, ours in rounds]
        grown = [one.megabytes() - old for one, old in zip((free, it), before, strict=True)]
        assert statistics.median(ratios) < SLOWER, ratios
        assert it.slowest < 1
        assert grown[1] < grown[0] + MEGABYTES
        assert it.client.get("/readyz").is_success
        it.client.close()
        # Requests in flight have ten seconds, and so has a response that isn't read.
        assert seconds_to_end(it.process) < 10.5
        return it


def test_a_dashboard_that_never_reads_slows_no_requests(tmp_path: Path, hung: Hung) -> None:
    """Many of them, with the smallest receive buffers."""
    compare(tmp_path, {}, {}, lambda it: hung.send_requests(it.port, "/dashboard/events"))


def test_a_scraper_that_never_reads_slows_no_requests(tmp_path: Path, hung: Hung) -> None:
    """Many of them, each with hundreds of requests."""
    compare(tmp_path, {}, {}, lambda it: hung.send_requests(it.port, "/metrics", times=300))


def test_a_scraper_that_never_reads_is_disconnected(tmp_path: Path, hung: Hung) -> None:
    """After CLIENT_WRITE_TIMEOUT, so that it doesn't hold a connection and a response in memory."""
    with gateway(tmp_path, **SETTINGS, CLIENT_WRITE_TIMEOUT="1") as (process, client):
        assert client.base_url.port
        hung.send_requests(client.base_url.port, "/metrics", times=300)
        most = open_files(process)
        assert client.get("/metrics").is_success
        assert wait_for(lambda: open_files(process) <= most - len(hung.sockets), 6), most
        assert client.get("/metrics").is_success


def open_files(process: subprocess.Popen[bytes]) -> int:
    """The number of open files of the process, connections included."""
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


def test_a_webhook_that_never_answers_slows_no_requests(tmp_path: Path, hung: Hung) -> None:
    """With more notifications than its queue takes."""
    compare(tmp_path, {}, {"WEBHOOK_URL": f"{hung.url}/hook"}, lambda _: None)
    assert hung.sockets, "it was contacted"


def test_a_collector_that_never_answers_slows_no_requests(tmp_path: Path, hung: Hung) -> None:
    """Compared with one that receives everything. Spans beyond the full queue are dropped."""
    with receiver(tmp_path) as good:
        traced = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50"}
        compare(
            tmp_path,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": good.endpoint, **traced},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": hung.url, **traced},
            lambda _: None,
        )
    assert hung.sockets, "it was contacted"
