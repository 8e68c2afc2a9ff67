"""`just logs`: readable lines, several logs in one, following, and errors of the output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.config import stack_config
from deploy.terminal import logs
from deploy.terminal.logs import readable
from tests.deploy.terminal.terminal_views import ESCAPED, HOSTILE


@pytest.fixture
def _utc_plus_0230(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the local time to UTC+02:30."""
    monkeypatch.setenv("TZ", "<+0230>-2:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_utc_plus_0230")
def test_a_line_of_json_becomes_time_event_and_keys() -> None:
    """In local time, with a traceback below; also for MongoDB's lines. Other lines are unchanged."""
    line = '{"event": "request", "level": "info", "timestamp": "2026-01-02T03:04:05Z", "status": 200}'
    assert readable(line).plain == "05:34:05  request  status=200"
    failed = (
        '{"event": "failed", "level": "error", "timestamp": "2026-01-02T03:04:05Z", "exception": "Traceback"}'
    )
    assert readable(failed).plain == "05:34:05  failed\n    Traceback"
    mongo = '{"t": {"$date": "2026-01-02T00:04:05.6-03:00"}, "s": "I", "msg": "Slow query"}'
    assert readable(mongo).plain == "05:34:05  Slow query"
    bad = '{"t": {"$date": "2026-01-02T03:04:05.6+00:00"}, "s": "E", "msg": "No", "attr": {"error": "full"}}'
    assert readable(bad).plain == '05:34:05  No  attr={"error": "full"}'
    assert any(span.style == "bold red" for span in readable(bad).spans)
    valkey = "17:M 02 Jan 2026 03:04:05.678 * Ready to accept connections tcp"
    assert readable(valkey).plain == "05:34:05  Ready to accept connections tcp"
    warning = readable("17:M 02 Jan 2026 03:04:05.678 # Memory\x1b[2J")
    assert warning.plain == "05:34:05  Memory\\x1b[2J"
    assert any(span.style == "yellow" for span in warning.spans)
    for plain in (
        "7:M 99 Jan 2026 03:04:05.678 * x",
        "no JSON [red]at all",
        "[1]",
        "3",
        "[" * 3000,
        '{"a":' * 3000,
    ):
        assert readable(plain).plain == plain


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"t": 5, "msg": "x"}', "    t=5  msg=x"),
        ('{"t": {}, "s": [], "msg": 1}', "  1"),
        ('{"timestamp": "9999-12-31T23:59:59-12:00", "event": "x"}', "9999-12-31T23:59:59  x"),
        ('{"timestamp": 7, "level": {}, "event": null}', "7  None"),
    ],
)
def test_unusual_json_is_printed_as_well(line: str, shown: str) -> None:
    """Reading goes on with the next line."""
    assert readable(line).plain == shown


def just(tmp_path: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STACK_DIR": str(tmp_path), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "deploy.stack", *words]
    return subprocess.run(
        command, env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=20, **more
    )


def test_a_number_of_lines_larger_than_any_deque_prints_all_lines(tmp_path: Path) -> None:
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    found.log("mongodb").write_text("one\ntwo\n")
    for many in ("9" * 20, "9" * 5000):
        assert just(tmp_path, "logs", "mongodb", "-n", many, stdout=subprocess.PIPE).stdout == "one\ntwo\n"


def test_without_any_log_it_says_how_to_start_the_stack(tmp_path: Path) -> None:
    done = just(tmp_path, "logs", stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"nothing was logged yet in {tmp_path}/logs; `uv run just up` starts the stack\n"


class EmptyHealth(BaseHTTPRequestHandler):
    """A gateway whose /health is an empty object."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the whole output fits into the buffer, and is written at exit."""
    server = HTTPServer(("127.0.0.1", 0), EmptyHealth)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GATEWAY_PORT", str(server.server_port))
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    found.log("mongodb").write_text("one\n")
    for words in (["logs"], ["health"]):
        with Path("/dev/full").open("w") as full:
            done = just(tmp_path, *words, stdout=full)
        assert done.stderr == "the output can't be written: No space left on device\n"
        assert done.returncode == 1
    server.shutdown()
    server.server_close()


def test_control_characters_of_clients_are_escaped() -> None:
    """In values, keys and tracebacks; each stays in its line."""
    line = json.dumps({"event": HOSTILE, "path": HOSTILE, HOSTILE: "x", "exception": f"T\n{HOSTILE}"})
    trace = ESCAPED.replace(r"\n", "\n    ")
    assert readable(line).plain == f"  {ESCAPED}  path={ESCAPED}  {ESCAPED}=x\n    T\n    {trace}"
    assert readable(f"no JSON {HOSTILE}").plain == f"no JSON {ESCAPED}"


def test_following_prints_every_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also lines that are written while the old ones are read. An incomplete line waits for its end."""
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    log = found.log("auth-service")
    log.write_text("one\n")
    real_print_line = logs.print_line
    waits = iter(["ree\n", ""])

    def write(text: str) -> None:
        with log.open("a") as file:
            file.write(text)

    def print_line(console: Console, name: str, line: str, *, prefix: bool) -> None:
        if line == "one":
            write("two\nth")
        real_print_line(console, name, line, prefix=prefix)

    def sleep(_: float) -> None:
        if (text := next(waits, None)) is None:
            raise KeyboardInterrupt
        write(text)

    monkeypatch.setattr(logs, "print_line", print_line)
    monkeypatch.setattr(logs.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        logs.show(found, ["auth-service"], follow=True, last=None)
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_lines_are_not_sorted_by_a_time_in_their_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    entries = [("/1999-01-01T00:00:00", "2030-01-01T00:00:03Z"), ("/", "2030-01-01T00:00:04Z")]
    written = [json.dumps({"path": path, "timestamp": stamp}) for path, stamp in entries]
    found.log("auth-service").write_text("\n".join([*written, ""]))
    found.log("mongodb").write_text('{"t":{"$date":"2030-01-01T00:00:02.5+00:00"}}\n')
    logs.show(found, ["mongodb", "auth-service"], follow=False, last=None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["mongodb", "auth-service", "auth-service"]


def test_a_closed_pipe_ends_with_status_0(tmp_path: Path) -> None:
    """As in `just logs | head`: with one log and with several, and without an error message."""
    found = stack_config({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    for name in ("mongodb", "auth-service"):
        found.log(name).write_text("word " * 20 + "\n" + "more\n" * 50_000)
    for names in ([], ["mongodb"]):
        command = [sys.executable, "-m", "deploy.stack", "logs", *names]
        reader = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "STACK_DIR": str(tmp_path)},
        )
        assert reader.stdout
        assert reader.stderr
        reader.stdout.readline()
        reader.stdout.close()
        assert reader.wait(20) == 0
        assert reader.stderr.read() == b""
        reader.stderr.close()
