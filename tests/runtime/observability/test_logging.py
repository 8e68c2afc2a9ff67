"""One way to log: through structlog or the standard library, to standard output."""

from __future__ import annotations

import errno
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
import structlog

from runtime.observability.logging import configure_logs
from runtime.observability.redaction import loggable_path, redact


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, unraisable = root.handlers, root.level, sys.unraisablehook
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    sys.unraisablehook = unraisable
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_that_is_not_on_a_terminal_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With process, level, logger and bound fields."""
    configure_logs("auth-service", "auto")
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("here").info("hello", n=1)
    logging.getLogger("there").warning("old %s", "style")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {"event": "hello", "n": 1, "request_id": "r1", "process": "auth-service"}.items() <= first.items()
    assert {"event": "old style", "level": "warning", "logger": "there", "request_id": "r1"}.items() <= (
        second.items()
    )


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Its traceback is a field."""
    configure_logs("x", "json")
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = capsys.readouterr().out.splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


def test_a_field_with_a_secrets_name_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    for log_format in ("json", "console"):
        configure_logs("x", log_format)
        structlog.get_logger().info("login", password="hunter2", access_token="hunter2", email="hunter2")
        out = capsys.readouterr().out
        assert "login" in out
        assert "hunter2" not in out


class Full(io.StringIO):
    """Standard output on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_debug_lines_are_dropped_and_a_broken_output_is_no_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs("x", "json")
    structlog.get_logger("here").debug("detail")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", Full())
    structlog.get_logger("here").error("lost")


def test_a_terminal_gets_the_text_of_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("x", "console")
    structlog.get_logger().info("[CIRCUIT_BREAKER] a circuit breaker OPENED: max failures reached")
    assert "[CIRCUIT_BREAKER] a circuit breaker OPENED: max failures reached" in capsys.readouterr().out


SECRETS = {
    "path": ("/users/very.private@example.org/x", "/users/***/x"),
    "reason": (
        "can't reach mongodb://root:pa=ss,w@db.example.org:27017/?x=1",
        "can't reach mongodb://***/?x=1",
    ),
    "said": (f"got eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIx{'a' * 40}.c2ln-_ here", "got *** here"),
    "renewed": (f"with {'0a' * 16}.{'-_Az9' * 8}abc.", "with ***."),
    "glued": (f"/x/rt_{'0a' * 16}.{'-_Az9' * 8}abc", "/x/rt_***"),
    "joined": (f"/x/token_eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIx{'a' * 40}.c2ln-_/y", "/x/token_***/y"),
    "monkey": (f"monkeyJumpsAndMore {'x' * 60}", f"monkeyJumpsAndMore {'x' * 60}"),
    "wide": ("/x/very.private\uff20example.org/very\ufe6bprivate.org", "/x/***/***"),
    "escaped": ("/users/very.private%40example.org/%2540x.org/a%2540b", "/users/***/%2540x.org/***"),
    "quoted": ('/x/"very private"@example.org', "/x/***"),
    "plain": (f"{'0a' * 16} @ 5 o'clock, {'x' * 60}", f"{'0a' * 16} @ 5 o'clock, {'x' * 60}"),
}


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("key", SECRETS)
def test_addresses_credentials_and_tokens_are_redacted_everywhere(
    log_format: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In fields, events and errors. The rest of the text stays."""
    text, expected = SECRETS[key]
    configure_logs("x", log_format)
    structlog.get_logger().info(text, **{key: text})
    logging.getLogger("there").warning("old %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("there").exception("failed")
    out = capsys.readouterr().out
    assert out.count(expected) >= 5
    assert text == expected or text not in out


def test_redaction_takes_linear_time() -> None:
    """A quadratic search would take minutes here."""
    for text in ("a" * 1_000_000 + "@", "a@" * 500_000, "0a" * 500_000):
        redact(text)
    for text in ("eyJaaaaaaaa-" * 80_000, "eyJ" * 300_000):
        redact(text)


def test_the_processs_own_secrets_are_redacted_by_value(capsys: pytest.CaptureFixture[str]) -> None:
    """Except short ones, which would be words like others."""
    configure_logs("x", "json", ["own/secret-1", "path"])
    structlog.get_logger().info("own/secret-1 in /a/own/secret-1/path", path="/a/own%2Fsecret-1")
    logging.getLogger("there").warning("xown/secret-1x")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["event"], first["path"], second["event"]) == ("*** in /a/***/path", "/a/***", "x***x")
    configure_logs("x", "json")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("/a/%41b%20c", "/a/Ab c"),
        ("/a/very%2Fprivate@example.org", "/a/***"),
        ("/a/very%2fprivate%2540example.org/b", "/a/***/b"),
        ("/a/very/private@example.org", "/a/very/***"),
        ("/a%2Fb%252Fc", "/a%2Fb%2Fc"),
        ("/" + "a" * 190 + "/very-private@example.org", "/" + "a" * 190 + "/***"),
        ("/" + "a" * 300, "/" + "a" * 199),
    ],
)
def test_an_escaped_path_is_redacted_as_its_plain_form(raw: str, shown: str) -> None:
    scope = {"path": unquote(raw), "raw_path": raw.encode()}
    assert redact(loggable_path(scope)) == shown


def test_the_error_that_ends_a_process_is_a_line_without_secrets() -> None:
    code = (
        "from runtime.observability.logging import configure_logs; configure_logs('x', 'json')\n"
        "raise ExceptionGroup('all', [ValueError('mongodb://root:hunter2@db/')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["event"], line["level"], line["process"]) == ("the process ends", "critical", "x")
    assert "ValueError: mongodb://***/" in line["exception"]
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import threading; t = threading.Thread(target=fail); t.start(); t.join()", "a thread ended"),
        ("class A:\n  __del__ = fail\nA()", "an error was ignored"),
    ],
)
def test_errors_of_threads_and_finalisers_are_lines_without_secrets(code: str, event: str) -> None:
    """Python would print them unchanged."""
    before = (
        "from runtime.observability.logging import configure_logs; configure_logs('x', 'json')\n"
        "def fail(*_): raise ValueError('mongodb://root:hunter2@db/')\n"
    )
    done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["event"], line["level"], line["process"]) == (event, "error", "x")
    assert "ValueError: mongodb://***/" in line["exception"]


def test_a_warning_is_a_line_without_secrets() -> None:
    code = (
        "from runtime.observability.logging import configure_logs; configure_logs('x', 'json')\n"
        "import warnings; warnings.warn('mongodb://root:hunter2@db/ is old')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["level"], line["logger"], done.stderr) == ("warning", "py.warnings", "")
    assert "mongodb://***/ is old" in line["event"]


def test_control_characters_are_escaped_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The line breaks of tracebacks stay."""
    hostile = "\x1b[2J\nFAKE\r\x9b31m"
    configure_logs("x", "console")
    structlog.get_logger().info(f"{hostile} a", path=hostile)
    logging.getLogger("there").warning("%s a", hostile)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert out.count(r"\x1b[2J\nFAKE\r\x9b31m a") == 2
    assert not {"\x1b", "\r", "\x9b"} & set(out)
    try:
        raise ValueError(hostile)
    except ValueError:
        structlog.get_logger().exception("failed")
    assert len(capsys.readouterr().out.splitlines()) > 4
