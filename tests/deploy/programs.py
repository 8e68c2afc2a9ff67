"""Programs that the tests of this folder start beside the stack, and end by their pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.private import wait_for

Span = dict[str, Any]


@contextmanager
def program(command: Sequence[str], output: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block lasts; both of its outputs go to the file."""
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Receiver:
    """The collector as a process. What it got is in its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output
        assert wait_for(lambda: bool(self._lines()), 10), output.read_text()
        self.endpoint = f"http://127.0.0.1:{int(self._lines()[0])}"

    def _lines(self) -> list[str]:
        return [line for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def spans(self) -> list[Span]:
        return [json.loads(line) for line in self._lines()[1:]]

    def has(self, *names: str, trace: str | None = None, seconds: float = 10.0) -> list[Span]:
        """The spans of that trace, once one of each name is there. Fails after `seconds`."""

        def there() -> list[Span]:
            return [span for span in self.spans() if trace in (None, span["trace"])]

        complete = wait_for(lambda: set(names) <= {span["name"] for span in there()}, seconds)
        assert complete, (names, there())
        return there()

    def freeze(self) -> None:
        """Neither take nor refuse anything from now on."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def receiver(folder: Path) -> Iterator[Receiver]:
    output = folder / "spans.jsonl"
    with program([sys.executable, str(Path(__file__).with_name("receiver.py"))], output) as process:
        yield Receiver(process, output)


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    """How long it takes to end after SIGTERM; it must end well."""
    begun = time.monotonic()
    process.terminate()
    assert process.wait(20) == 0
    return time.monotonic() - begun
