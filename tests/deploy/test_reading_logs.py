"""`just logs`: several logs as one, as a person reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deploy import logs
from deploy.layout import layout
from deploy.logs import readable

HOSTILE = "\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"


def test_a_line_of_json_is_made_readable() -> None:
    """Time, event, then the rest; a traceback below; MongoDB's own lines too; anything else as it is."""
    line = '{"event": "request", "level": "info", "timestamp": "2026-01-02T03:04:05Z", "status": 200}'
    assert readable(line).plain == "03:04:05  request  status=200"
    failed = (
        '{"event": "failed", "level": "error", "timestamp": "2026-01-02T03:04:05Z", "exception": "Traceback"}'
    )
    assert readable(failed).plain == "03:04:05  failed\n    Traceback"
    mongo = '{"t": {"$date": "2026-01-02T03:04:05.6+00:00"}, "s": "I", "msg": "Slow query"}'
    assert readable(mongo).plain == "03:04:05  Slow query"
    bad = '{"t": {"$date": "2026-01-02T03:04:05.6+00:00"}, "s": "E", "msg": "No", "attr": {"error": "full"}}'
    assert readable(bad).plain == '03:04:05  No  attr={"error": "full"}'
    assert any(span.style == "bold red" for span in readable(bad).spans)
    for plain in ("no JSON [red]at all", "[1]", "3"):
        assert readable(plain).plain == plain


def test_what_clients_wrote_does_not_steer_the_terminal() -> None:
    """A path, a name, an error: each in its line, as escapes."""
    line = json.dumps({"event": HOSTILE, "path": HOSTILE, HOSTILE: "x", "exception": f"T\n{HOSTILE}"})
    trace = SHOWN.replace(r"\n", "\n    ")
    assert readable(line).plain == f"  {SHOWN}  path={SHOWN}  {SHOWN}=x\n    T\n    {trace}"
    assert readable(f"no JSON {HOSTILE}").plain == f"no JSON {SHOWN}"


def test_no_line_is_told_twice_or_missed_while_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written while the old lines are read is told with them; and the half of a line waits."""
    found = layout({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    log = found.log("auth-service")
    log.write_text("one\n")
    told = logs.print_line
    waits = iter(["ree\n", ""])

    def write(text: str) -> None:
        with log.open("a") as file:
            file.write(text)

    def print_line(console: Console, name: str, line: str, *, alone: bool) -> None:
        if line == "one":
            write("two\nth")
        told(console, name, line, alone=alone)

    def sleep(_: float) -> None:
        if (text := next(waits, None)) is None:
            raise KeyboardInterrupt
        write(text)

    monkeypatch.setattr(logs, "print_line", print_line)
    monkeypatch.setattr(logs.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        logs.show(found, ["auth-service"], follow=True, last=None)
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_a_time_in_a_path_does_not_put_a_line_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = layout({"STACK_DIR": str(tmp_path)})
    found.logs.mkdir(parents=True)
    mine = [("/1999-01-01T00:00:00", "2030-01-01T00:00:03Z"), ("/", "2030-01-01T00:00:04Z")]
    lines = [json.dumps({"path": path, "timestamp": stamp}) for path, stamp in mine]
    found.log("auth-service").write_text("\n".join([*lines, ""]))
    found.log("mongodb").write_text('{"t":{"$date":"2030-01-01T00:00:02.5+00:00"}}\n')
    logs.show(found, ["mongodb", "auth-service"], follow=False, last=None)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in said] == ["mongodb", "auth-service", "auth-service"]


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`just logs | head` ends well, with one log and with several."""
    found = layout({"STACK_DIR": str(tmp_path)})
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
        assert (reader.wait(20), reader.stderr.read()) == (0, b"")
        reader.stderr.close()
