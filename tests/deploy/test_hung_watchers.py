"""Whoever watches may hang: calls go on as fast, memory stays bounded, and the process ends in its time.

Each test compares two gateways in turn, one of which is watched by somebody who really hangs.
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
"""Changes of state in a round: there must be something to be told of."""
SLOWER = 1.4
MEGABYTES = 15
TOKEN = "token-of-the-operators"
SETTINGS = {"ADMIN_TOKEN": TOKEN, "RATE_LIMIT_PER_MINUTE": "1000000"}


@dataclass
class Side:
    """One of the two gateways."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    connection: http.client.HTTPConnection
    slowest: float = 0.0

    @property
    def port(self) -> int:
        assert self.client.base_url.port
        return self.client.base_url.port

    def round(self) -> float:
        """The time of all calls."""
        for _ in range(MOVES):
            for action in ("trip", "reset"):
                self.ask("POST", f"/admin/breakers/student-service-http/{action}")
        # Others look, too, and mustn't wait for those who hang.
        self.ask("GET", "/metrics")
        return sum(self.ask("GET", "/auth/ok") for _ in range(CALLS))

    def ask(self, method: str, path: str) -> float:
        """The time that it takes."""
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
    """A receiver that accepts whoever comes, and neither reads nor answers. Or clients who never read."""

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

    def asks(self, port: int, path: str, *, clients: int = 20, times: int = 1) -> None:
        """Ask so many times over each of so many connections; take no more of the answers than must be."""
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
    """Judge the rate, the slowest call and the memory of two gateways; the watched one ends well then."""
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
        # What is in flight has ten seconds, and an answer that nobody takes is in flight.
        assert seconds_to_end(it.process) < 10.5
        return it


def test_a_dashboard_that_never_reads(tmp_path: Path, hung: Hung) -> None:
    """Many of them, on connections that hold next to nothing."""
    compare(tmp_path, {}, {}, lambda it: hung.asks(it.port, "/dashboard/events"))


def test_a_scraper_that_never_reads(tmp_path: Path, hung: Hung) -> None:
    """Many of them, each with hundreds of scrapes to be answered."""
    compare(tmp_path, {}, {}, lambda it: hung.asks(it.port, "/metrics", times=300))


def test_a_scraper_that_never_reads_is_let_go(tmp_path: Path, hung: Hung) -> None:
    """None of them keeps a place, and an answer in memory, for as long as it likes."""
    with gateway(tmp_path, **SETTINGS, CLIENT_WRITE_TIMEOUT="1") as (process, client):
        assert client.base_url.port
        hung.asks(client.base_url.port, "/metrics", times=300)
        most = open_files(process)
        assert client.get("/metrics").is_success
        assert wait_for(lambda: open_files(process) <= most - len(hung.sockets), 6), most
        assert client.get("/metrics").is_success


def open_files(process: subprocess.Popen[bytes]) -> int:
    """A connection is one."""
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


def test_a_webhook_that_never_answers(tmp_path: Path, hung: Hung) -> None:
    """More is to be told than may wait for it."""
    compare(tmp_path, {}, {"WEBHOOK_URL": f"{hung.url}/hook"}, lambda _: None)
    assert hung.sockets, "it was told"


def test_a_collector_that_never_answers(tmp_path: Path, hung: Hung) -> None:
    """Beside one that takes everything; spans are dropped when as many wait as may."""
    with receiver(tmp_path) as good:
        traced = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50"}
        compare(
            tmp_path,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": good.endpoint, **traced},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": hung.url, **traced},
            lambda _: None,
        )
    assert hung.sockets, "it was told"
