"""`just watch` and `just logs`: what a person sees of what the stream and the logs tell."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from rich.console import Console

from deploy import health, settings
from deploy.logs import readable
from deploy.watch import Board
from deploy.words import duration

HELLO = {
    "gateway": "api-gateway",
    "services": [
        {"process": "auth-service", "breaker": "auth-service-http", "dependencies": ["auth-database"]}
    ],
}
NOW = 1_000_000.0


def breaker(name: str, **more: Any) -> dict[str, Any]:
    plain = {
        "name": name,
        "state": "CLOSED",
        "since": NOW - 72,
        "outage_since": None,
        "reason": None,
        "probe_at": None,
        "failure_count": 0,
        "last_failure": None,
        "policy": {"max_failures": 5, "trip": None},
        "transitions": [],
        "failures": [],
        "calls_by_time": [],
    }
    return {**plain, **more}


def report(process: str, since: float, *breakers: dict[str, Any], answers: bool = True) -> dict[str, Any]:
    more = {"now": NOW, "since": since, "started": 0} if answers else {}
    return {"process": process, "answers": answers, "breakers": list(breakers), **more}


def shown(board: Board) -> str:
    console = Console(width=170, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(board.shown(NOW))
    return captured.get()


def test_an_outage_is_told_in_a_row() -> None:
    """State, since when, how near, the next probe, what failed and was rejected, and why."""
    board = Board()
    board.take("hello", HELLO)
    change = {"breaker": "auth-service-http", "new": "OPEN", "reason": "max failures reached", "time": NOW}
    open_one = breaker(
        "auth-service-http",
        state="OPEN",
        outage_since=NOW - 72,
        probe_at=NOW + 41.6,
        failure_count=5,
        reason="max failures reached",
        last_failure="ConnectError",
        transitions=[change],
        calls_by_time=[[NOW - 5, 0, 5, 0, 0, 7]],
    )
    board.take("report", report("api-gateway", 0, open_one))
    row = next(line for line in shown(board).splitlines() if line.startswith("auth-service-http"))
    cells = row.split("  ")
    for expected in (
        "OPEN",
        "1 min 12 s",
        "●●●●●",
        "42 s",
        "12",
        "5",
        "7",
        "max failures reached: ConnectError",
    ):
        assert expected in [cell.strip() for cell in cells], expected
    assert "OPEN        max failures reached" in shown(board)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 170])
def test_what_matters_most_is_there_on_every_terminal(width: int) -> None:
    """State, next probe, failures and rejections, not cut; the rest where there is room for it."""
    board = Board()
    board.take("hello", HELLO)
    change = {"breaker": "auth-service-http", "new": "OPEN", "reason": "max failures reached", "time": NOW}
    told = {"state": "OPEN", "probe_at": NOW + 42, "reason": "max failures reached", "transitions": [change]}
    counted = [[NOW - 5, 0, 12345, 0, 0, 6789]]
    board.take(
        "report", report("api-gateway", 0, breaker("auth-service-http", calls_by_time=counted, **told))
    )
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(board.shown(NOW, width))
    heads, row, unknown, _, event = (line.rstrip() for line in captured.get().splitlines())
    assert max(map(len, (heads, row, unknown, event))) <= width
    cells = re.split("  +", row)
    assert {"auth-service-http", "OPEN", "42 s", "12345", "6789"} <= set(cells)
    assert "UNKNOWN" in unknown
    assert "max failures" in event
    assert heads.split()[:2] == ["breaker", "state"]
    assert ("why" in heads, "5 minutes" in heads) == (width >= 100, width >= 146)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_health_says_what_is_wrong_on_every_terminal(width: int) -> None:
    """Which breaker, its state, the next probe; and why, where there is room for it."""
    told = {"state": "OPEN", "retry_after": 42.0, "since": time.time() - 72, "reason": "max failures reached"}
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(health.table({"auth": {"circuit_breaker": told}}, width))
    heads, row, *_ = captured.get().splitlines()
    assert len(row.rstrip()) <= width
    assert re.split("  +", row)[0] == "auth-service-http"
    assert {"OPEN", "1 min 12 s", "in 42 s"} <= set(re.split("  +", row))
    assert ("max failures" in row, "guarded by" in heads) == (width >= 80, width >= 119)


def test_what_does_not_change_stays() -> None:
    """A report tells only of breakers that differ, and of their latest past."""
    board = Board()
    board.take("hello", HELLO)
    board.take(
        "report",
        report("auth-service", 0, breaker("auth-database", calls_by_time=[[NOW - 60, 3, 0, 0, 0, 0]])),
    )
    board.take("report", report("auth-service", NOW - 1))
    board.take(
        "report",
        report("auth-service", NOW - 1, breaker("auth-database", calls_by_time=[[NOW, 4, 0, 0, 0, 0]])),
    )
    [_, (_, _, found)] = board.breakers()
    assert found is not None
    assert [bucket[1] for bucket in found["calls_by_time"]] == [3, 4]


def test_a_silent_process_is_unknown_and_comes_back() -> None:
    """What it told last isn't shown as if it were now."""
    board = Board()
    board.take("hello", HELLO)
    board.take("report", report("auth-service", 0, breaker("auth-database")))
    board.take("report", report("auth-service", 0, answers=False))
    assert "auth-service doesn't answer" in shown(board)
    board.take("report", report("auth-service", NOW - 1))
    assert "auth-service doesn't answer" not in shown(board)


def test_a_lost_gateway_is_said() -> None:
    """With the last that was known."""
    board = Board()
    board.take("hello", HELLO)
    board.lost_at = NOW
    assert "Disconnected since" in shown(board)
    board.take("tick", {"now": NOW})
    assert "Disconnected" not in shown(board)


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only that they are set."""
    for name in ("ADMIN_TOKEN", "WEBHOOK_SECRET", "WEBHOOK_URL", "MONGODB_URI"):
        monkeypatch.setenv(name, "hidden-1")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://root:hidden-1@h:1")
    settings.main()
    out = capsys.readouterr().out
    assert "hidden-1" not in out
    assert out.count("(set)") == 4


def test_durations_read_well() -> None:
    """Two units at most."""
    assert [duration(s) for s in (0, 59.6, 72, 11520, 187200)] == [
        "0 s",
        "1 min 0 s",
        "1 min 12 s",
        "3 h 12 min",
        "2 d 4 h",
    ]


def test_a_line_of_json_is_made_readable() -> None:
    """Time, event, then the rest; a traceback below; MongoDB's own lines too; anything else as it is."""
    line = '{"event": "request", "level": "info", "timestamp": "2026-01-02T03:04:05Z", "status": 200}'
    assert readable(line).plain == "03:04:05  request  status=200"
    failed = (
        '{"event": "failed", "level": "error", "timestamp": "2026-01-02T03:04:05Z", "exception": "Traceback"}'
    )
    assert readable(failed).plain == "03:04:05  failed\nTraceback"
    mongo = '{"t": {"$date": "2026-01-02T03:04:05.6+00:00"}, "s": "I", "msg": "Slow query"}'
    assert readable(mongo).plain == "03:04:05  Slow query"
    for plain in ("no JSON [red]at all", "[1]", "3"):
        assert readable(plain).plain == plain
