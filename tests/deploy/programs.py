"""Processes for the tests of this folder: a gateway, an upstream service, a collector."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.ephemeral_stack import free_ports, wait_for

Span = dict[str, Any]


@contextmanager
def program(command: Sequence[str], output: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program during the block. Both of its outputs go to the file `output`."""
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Receiver:
    """A running receiver.py."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output
        assert wait_for(lambda: bool(self._lines()), 10), output.read_text()
        self.endpoint = f"http://127.0.0.1:{int(self._lines()[0])}"

    def _lines(self) -> list[str]:
        return [line for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def spans(self) -> list[Span]:
        """All spans received so far."""
        return [json.loads(line) for line in self._lines()[1:]]

    def has(self, *names: str, trace: str | None = None, seconds: float = 10.0) -> list[Span]:
        """Wait for one span of each name, and return all spans of the trace. Fails after `seconds`."""

        def found() -> list[Span]:
            return [span for span in self.spans() if trace in (None, span["trace"])]

        complete = wait_for(lambda: set(names) <= {span["name"] for span in found()}, seconds)
        assert complete, (names, found())
        return found()

    def freeze(self) -> None:
        """Suspend the process: connections are neither accepted nor refused."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    """Run a collector during the block."""
    output = folder / "spans.jsonl"
    with program(
        [sys.executable, str(Path(__file__).with_name("monitoring") / "receiver.py")], output
    ) as process:
        yield Receiver(process, output)


@contextmanager
def gateway(
    folder: Path, upstream: str | None = None, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run a gateway during the block. upstream: the URL of all services; None: none accepts connections."""
    port, auth, school, student = free_ports(4)
    ports = {"AUTH": auth, "SCHOOL": school, "STUDENT": student}
    services = {f"{name}_SERVICE_URL": upstream or f"http://127.0.0.1:{dead}" for name, dead in ports.items()}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    more = {"GATEWAY_PORT": str(port), "OTEL_BSP_SCHEDULE_DELAY": "100", **settings}
    folder.mkdir(exist_ok=True)
    log = folder / "gateway.log"
    with (
        program([sys.executable, "-m", "gateway"], log, env={**kept, **services, **more}) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert wait_for(lambda: is_up(client), 20), log.read_text()
        try:
            yield process, client
        finally:
            _end(process)  # a gateway that is killed doesn't remove its workers' folder


def _end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def is_up(client: httpx.Client, path: str = "/livez") -> bool:
    """Whether GET `path` succeeds."""
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


@contextmanager
def upstream(folder: Path, document: dict[str, Any] | None = None) -> Iterator[str]:
    """Run upstream.py during the block, and yield its URL. document: its key set."""
    output = folder / "upstream.log"
    words = [sys.executable, str(Path(__file__).with_name("upstream.py")), json.dumps(document or {})]
    with program(words, output):
        assert wait_for(lambda: output.read_text().endswith("\n"), 10), output.read_text()
        yield f"http://127.0.0.1:{int(output.read_text())}"


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    """The seconds that a process takes to end after SIGTERM. Fails if its exit status isn't 0."""
    begun = time.monotonic()
    process.terminate()
    assert process.wait(20) == 0
    return time.monotonic() - begun
