"""`just health`: the columns for each width of a terminal, and the message below the table."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import pytest

from deploy.config import stack_config
from deploy.terminal import health
from tests.deploy.terminal.terminal_views import ESCAPED, HOSTILE, cells, rendered_lines

COLUMNS = {
    40: "breaker state",
    45: "breaker state next probe",
    60: "breaker state for next probe",
    80: "breaker state for next probe why",
    100: "breaker state for failures next probe why",
    120: "breaker guarded by state for failures next probe why",
}


@pytest.mark.parametrize("width", COLUMNS)
def test_a_narrow_terminal_shows_the_most_important_columns(width: int) -> None:
    """Only "why" and an absurdly long "next probe" end in an ellipsis."""
    forced = {"state": "OPEN", "mode": "FORCED_OPEN", "reason": "r" * 200}
    forced |= {"retry_after": 1234567.0, "since": time.time() - 3599}
    heads, row, *_ = rendered_lines(width, health.table({"auth": {"circuit_breaker": forced}}, width))
    assert " ".join(heads.split()) == COLUMNS[width]
    expected = {"auth-service-http": "breaker", "59 min 59 s": "for", "in 123456…": "next probe"}
    assert {cell for cell, name in expected.items() if name in heads} | {"FORCED_OPEN"} <= set(cells(row))
    assert "why" not in heads or re.fullmatch("r+…", cells(row)[-1])


def test_a_process_that_does_not_answer_replaces_the_healthy_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway returns 200, since no breaker is open. The exit status is 1 nevertheless."""
    closed: dict[str, Any] = {"circuit_breaker": {"state": "CLOSED", "mode": "CLOSED"}}
    dependencies = {"auth-database": {"status": "unknown"}}
    found: dict[str, Any] = {
        "auth": {**closed, "dependencies": dependencies},
        "school": closed,
        "student": closed,
    }
    body = {"message": "All services are healthy", "data": found}
    monkeypatch.setattr(health, "fetch_health", lambda _: (200, body))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert not health.show(stack_config({}))
    output = capsys.readouterr().out
    assert "No answer: auth-service; see `uv run just status`." in output
    assert "All services are healthy" not in output
    dependencies["auth-database"].update(closed)
    assert health.show(stack_config({}))
    assert "All services are healthy" in capsys.readouterr().out


def test_the_gateways_message_and_the_missing_process_are_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"message": "Some services are unhealthy", "data": {"auth": {}, "school": {}, "student": {}}}
    monkeypatch.setattr(health, "fetch_health", lambda _: (503, body))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert not health.show(stack_config({}))
    message, missing = capsys.readouterr().out.splitlines()[-2:]
    assert "Some services are unhealthy" in message
    assert "No answer: api-gateway; see `uv run just status`." in missing


def test_control_characters_of_others_are_escaped() -> None:
    forced = {"state": "OPEN", "reason": HOSTILE, "last_failure": HOSTILE}
    _, row, *_ = rendered_lines(200, health.table({"auth": {"circuit_breaker": forced}}, 200))
    assert f"{ESCAPED}: {ESCAPED}" in row
