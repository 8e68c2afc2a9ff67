"""Observers (a scraper, open dashboards) and an observed service, for `benchmarks.observing`."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.gateway.subjects import start_nginx, start_python

OPENMETRICS = "application/openmetrics-text"
DASHBOARD = "/dashboard/events"
SETTLE_SECONDS = 1.5

_SERVICE = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location = /breakers {{ proxy_pass http://127.0.0.1:{breakers_port}; }}
        location / {{ return 200 '{{"message": "ok", "data": null}}'; }}
    }}
"""


def service(folder: Path, port: int, breakers_port: int) -> subprocess.Popen[bytes]:
    """nginx, returning one small response. Forwards GET /breakers to the process at `breakers_port`."""
    return start_nginx(folder / "service", _SERVICE, port=port, breakers_port=breakers_port)


def breakers(folder: Path, port: int, _: int) -> subprocess.Popen[bytes]:
    """A process whose breakers are called all the time."""
    return start_python(folder, "breakers", ["benchmarks.observing.observed"], {"PORT": str(port)})


@contextmanager
def scraping(port: int) -> Iterator[None]:
    """Scrape /metrics once a second: fifteen times as often as deploy/prometheus does."""
    stop = threading.Event()

    def scrape() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            connection.request("GET", "/metrics", headers={"Accept": OPENMETRICS})
            assert b"circuit_breaker_state" in connection.getresponse().read()
            if stop.wait(1.0):
                connection.close()
                return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def dashboards(port: int, count: int, *, reading: bool = True) -> Iterator[None]:
    """Keep dashboard streams open. reading: False for clients that never read what they are sent."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            if not reading:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", port))
            one.sendall(f"GET {DASHBOARD} HTTP/1.1\r\nHost: it\r\n\r\n".encode())
            assert one.recv(12) == b"HTTP/1.1 200"
            if reading:
                threading.Thread(target=_read, args=(one,), daemon=True).start()
        # A new stream begins with the whole history. That cost is paid once, so it isn't measured.
        time.sleep(SETTLE_SECONDS)
        yield
        for one in opened:
            one.shutdown(socket.SHUT_RDWR)


def _read(one: socket.socket) -> None:
    while one.recv(65536):
        pass
