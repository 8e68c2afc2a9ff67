"""Those who look, and a service that has something to tell them: for `benchmarks.observing`."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.gateway_subjects import _nginx, _python

OPENMETRICS = "application/openmetrics-text"
DASHBOARD = "/dashboard/events"
SETTLE_SECONDS = 1.5

_SERVICE = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location = /breakers {{ proxy_pass http://127.0.0.1:{told}; }}
        location / {{ return 200 '{{"message": "ok", "data": null}}'; }}
    }}
"""


def service(folder: Path, port: int, told: int) -> subprocess.Popen[bytes]:
    """nginx with one small answer; who asks for its breakers gets those of the process at the port `told`."""
    return _nginx(folder / "service", _SERVICE, port=port, told=told)


def breakers(folder: Path, port: int, _: int) -> subprocess.Popen[bytes]:
    """A process with breakers of its own, which are called all the time."""
    return _python(folder, "breakers", ["benchmarks.observed"], {"PORT": str(port)})


@contextmanager
def scraping(port: int) -> Iterator[None]:
    """Somebody who scrapes once a second: fifteen times as often as Prometheus is told to."""
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
def looking(port: int, viewers: int, *, reading: bool = True) -> Iterator[None]:
    """So many open dashboards. reading: False for those that take nothing of what they are told."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(viewers)]
        for one in opened:
            if not reading:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", port))
            one.sendall(f"GET {DASHBOARD} HTTP/1.1\r\nHost: it\r\n\r\n".encode())
            assert one.recv(12) == b"HTTP/1.1 200"
            if reading:
                threading.Thread(target=_read, args=(one,), daemon=True).start()
        # Whoever comes is told everything first: that is paid once, not as long as somebody looks.
        time.sleep(SETTLE_SECONDS)
        yield
        for one in opened:
            one.shutdown(socket.SHUT_RDWR)


def _read(one: socket.socket) -> None:
    while one.recv(65536):
        pass
