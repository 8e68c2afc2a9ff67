"""Backends behind a real HAProxy: each records its requests, and answers as the test has set."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.demo.ephemeral_stack import wait_for
from tests.deploy.fleet.tools import tool


class Backend(ThreadingHTTPServer):
    """A server in threads on a free port.

    ready: the status of /readyz is 200, otherwise 503; live: likewise of /livez. breaks_off: a request's
    connection is closed without an answer. requests: method, path and fields of each request but those for
    health.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ready = True
        self.live = True
        self.breaks_off = False
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """HAProxy resets the connection of a check as soon as it has the status."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the port of its server."""

    protocol_version = "HTTP/1.1"
    server: Backend

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(200 if self.server.ready else 503)
            return
        if self.path == "/livez":
            self._answer(200 if self.server.live else 503)
            return
        fields = {name.lower(): self.headers.get_all(name, []) for name in self.headers}
        self.server.requests.append((self.command, self.path, fields))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.breaks_off:
            self.close_connection = True
            return
        self._answer(200)

    def do_POST(self) -> None:
        self.do_GET()

    def _answer(self, status: int) -> None:
        body = json.dumps({"port": self.server.server_port}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def backends(number: int) -> Iterator[list[Backend]]:
    """Run `number` backends during the block."""
    servers = [Backend() for _ in range(number)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield servers
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def haproxy(configuration: str, folder: Path, port: int) -> Iterator[None]:
    """Run HAProxy during the block, from when it listens on `port`."""
    file, log = folder / "haproxy.cfg", folder / "haproxy.log"
    file.write_text(configuration)
    with log.open("wb") as output:
        process = subprocess.Popen([tool("haproxy"), "-db", "-f", str(file)], stdout=output, stderr=output)
    try:
        assert wait_for(lambda: process.poll() is not None or listens(port), 10)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    """Whether the port of this machine accepts a connection."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
