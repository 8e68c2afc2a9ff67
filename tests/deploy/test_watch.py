"""`just watch` and `just logs`: what a person sees of what the stream and the logs tell."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from rich.console import Console, RenderableType

from deploy import settings
from deploy.config import StackError, stack_config
from deploy.terminal import health
from deploy.terminal import watch as watching
from deploy.terminal.formatting import duration, failure_meter, time_of_day
from deploy.terminal.watch import LiveView

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
        "slow_count": 0,
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


def shown(view: LiveView) -> str:
    console = Console(width=170, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(view.render(NOW))
    return captured.get()


def test_an_outage_is_told_in_a_row() -> None:
    """State, since when, how near, the next probe, what failed and was rejected, and why."""
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
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
    view.apply("report", report("api-gateway", 0, open_one))
    row = next(line for line in shown(view).splitlines() if line.startswith("auth-service-http"))
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
    assert "OPEN        max failures reached" in shown(view)


WATCHED = {
    40: "breaker state",
    41: "breaker state probe",
    49: "breaker state probe failed",
    60: "breaker state probe failed rejected",
    80: "breaker state for probe failed rejected",
    97: "breaker state for probe failed rejected why",
    104: "breaker state for probe /min failed rejected why",
    120: "breaker state for to trip probe /min failed rejected why",
    148: "breaker state for to trip probe 5 minutes /min failed rejected why",
    170: "breaker state for to trip probe 5 minutes /min failed rejected why",
}
CELLS = {
    "breaker": "student-service-http",
    "state": "FORCED_OPEN",
    "for": "59 min 59 s",
    "to trip": "●" * 10,
    "probe": "3600 s",
    "/min": "75801",
    "failed": "69012",
    "rejected": "6789",
}


def drawn(width: int, *what: RenderableType) -> list[str]:
    """The lines as they are made for `width`, on a terminal so wide that it cuts nothing off itself."""
    console = Console(width=400, force_terminal=False)
    with console.capture() as captured:
        console.print(*what)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= width, lines
    return lines


SLOW, RATE = {"kind": "SlowCallRate"}, {"kind": "FailureRate"}


@pytest.mark.parametrize(
    ("max_failures", "trip", "said"),
    [
        (5, None, "●●●○○"),
        (50, None, "3/50"),
        (5, RATE, "3"),
        (5, SLOW, "2 slow"),
        (5, {"kind": "AnyOf", "strategies": [RATE, RATE]}, "3"),
        (5, {"kind": "AnyOf", "strategies": [RATE, SLOW]}, "3+2 slow"),
    ],
)
def test_how_near_it_is_to_tripping_counts_what_the_strategy_counts(
    max_failures: int, trip: Any, said: str
) -> None:
    """Slow calls where these decide, and not the failures among them."""
    policy = {"max_failures": max_failures, "trip": trip}
    assert failure_meter(breaker("a", failure_count=3, slow_count=2, policy=policy)).plain == said


def cells(line: str) -> list[str]:
    return re.split("  +", line)


@pytest.mark.parametrize("width", WATCHED)
def test_what_matters_most_is_there_on_every_terminal(width: int) -> None:
    """What there is room for is whole; only why it is so may end in an ellipsis."""
    told = breaker(
        "student-service-http",
        state="FORCED_OPEN",
        outage_since=NOW - 3599,
        failure_count=10,
        reason="forced by operator: " + "x" * 200,
        calls_by_time=[[NOW - 5, 0, 69012, 0, 0, 6789]],
        policy={"max_failures": 10, "trip": None},
    )
    waits = breaker("auth-database", state="OPEN", probe_at=NOW + 3600)
    view = LiveView("http://127.0.0.1:8080")
    one = {"process": "auth-service", "breaker": "student-service-http", "dependencies": ["auth-database"]}
    view.apply("hello", {"gateway": "api-gateway", "services": [one]})
    view.apply("report", report("api-gateway", 0, told))
    view.apply("report", report("auth-service", 0, waits))
    heads, row, other = drawn(width, view.table(NOW, width))
    assert " ".join(heads.split()) == WATCHED[width]
    expected = {cell for name, cell in CELLS.items() if name in heads and name != "probe"}
    assert expected <= set(cells(row))
    assert ("3600 s" in cells(other)) == ("probe" in heads)
    if "why" in heads:
        assert re.fullmatch("forced by operator: .*…", cells(row)[-1])
        assert len(row) == width


@pytest.mark.parametrize("width", [40, 60, 80, 170])
def test_what_happened_is_told_on_every_terminal(width: int) -> None:
    """One line each, cut off with an ellipsis where it must be."""
    change = {"breaker": "auth-service-http", "new": "HALF_OPEN", "reason": "attempting recovery " * 9}
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    past = [{**change, "time": NOW + n} for n in range(9)]
    view.apply("report", report("api-gateway", 0, breaker("auth-service-http", transitions=past)))
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(view.render(NOW, width))
    lines = captured.get().splitlines()
    told = [line for line in lines if "auth-service-http  " in line and "HALF" in line]
    assert [line[:8] for line in told] == [time_of_day(NOW + n) for n in range(8, 2, -1)]
    assert all(line.endswith("…") and len(line) == width for line in told)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("height", range(7, 20))
def test_the_breakers_are_whole_on_a_low_terminal(height: int, lost: bool) -> None:
    """What happened gives way first, and the heading before a breaker."""
    change = {"new": "HALF_OPEN", "reason": "attempting recovery", "time": NOW}
    names = [f"breaker-{n}" for n in range(6)]
    view = LiveView("http://127.0.0.1:8080")
    one = {"process": "auth-service", "breaker": names[0], "dependencies": names[1:]}
    view.apply("hello", {"gateway": "api-gateway", "services": [one]})
    told = [breaker(name, transitions=[{**change, "breaker": name}]) for name in names]
    view.apply("report", report("api-gateway", 0, *told))
    view.lost_at = NOW if lost else None
    lines = drawn(80, view.render(NOW, 80, height))
    assert len(lines) <= height
    assert [line.split()[0] for line in lines if line.startswith("breaker-")] == names
    assert ("breaker  " in " ".join(lines)) == (height > 6 + lost)
    assert sum("attempting" in line for line in lines) == max(0, min(6, height - lost - 8))


HEALTH = {
    40: "breaker state",
    45: "breaker state next probe",
    60: "breaker state for next probe",
    80: "breaker state for next probe why",
    100: "breaker state for failures next probe why",
    120: "breaker guarded by state for failures next probe why",
}


@pytest.mark.parametrize("width", HEALTH)
def test_health_says_what_is_wrong_on_every_terminal(width: int) -> None:
    """Which breaker, its state, the next probe; and why, where there is room for it."""
    told = {"state": "OPEN", "mode": "FORCED_OPEN", "reason": "r" * 200}
    told |= {"retry_after": 1234567.0, "since": time.time() - 3599}
    heads, row, *_ = drawn(width, health.table({"auth": {"circuit_breaker": told}}, width))
    assert " ".join(heads.split()) == HEALTH[width]
    expected = {"auth-service-http": "breaker", "59 min 59 s": "for", "in 123456…": "next probe"}
    assert {cell for cell, name in expected.items() if name in heads} | {"FORCED_OPEN"} <= set(cells(row))
    assert "why" not in heads or re.fullmatch("r+…", cells(row)[-1])


def test_nobody_is_called_healthy_who_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway's own verdict is of breakers; who is away is told, and by the exit status as well."""
    well: dict[str, Any] = {"circuit_breaker": {"state": "CLOSED", "mode": "CLOSED"}}
    dependencies = {"auth-database": {"status": "unknown"}}
    found: dict[str, Any] = {"auth": {**well, "dependencies": dependencies}, "school": well, "student": well}
    body = {"message": "All services are healthy", "data": found}
    monkeypatch.setattr(health, "fetch_health", lambda _: (200, body))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert not health.show(stack_config({}))
    said = capsys.readouterr().out
    assert "No answer: auth-service; see `uv run just status`." in said
    assert "All services are healthy" not in said
    dependencies["auth-database"].update(well)
    assert health.show(stack_config({}))
    assert "All services are healthy" in capsys.readouterr().out


def test_it_is_watched_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe nobody would see anything until its end."""
    monkeypatch.setattr(watching.time, "sleep", lambda _: pytest.fail("it watches"))
    with pytest.raises(StackError, match="needs a terminal; `uv run just health`"):
        watching.watch(stack_config({}))
    assert capsys.readouterr().out == ""


def test_the_terminal_is_left_as_it_was_with_the_last_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was live is on a screen of its own; below the command stands how it was at the end, once."""

    def stream(_: object) -> Iterator[tuple[str, Any]]:
        yield "hello", HELLO
        yield "report", report("api-gateway", 0, breaker("auth-service-http"))
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "_stream", stream)
    monkeypatch.setattr(watching, "Console", partial(Console, force_terminal=True, width=80))
    with pytest.raises(KeyboardInterrupt):
        watching.watch(stack_config({}))
    live, _, left = capsys.readouterr().out.partition("\x1b[?1049l")
    assert live.startswith("\x1b[?1049h")
    assert (live.count("auth-service-http") > 1, left.count("auth-service-http")) == (True, 1)
    assert "\x1b[?25h" in live + left


def test_who_waits_for_the_gateway_is_told_where_it_should_be() -> None:
    assert "http://127.0.0.1:8080: `uv run just status`" in shown(LiveView("http://127.0.0.1:8080"))


HOSTILE = "\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"


def test_what_others_wrote_does_not_steer_the_terminal() -> None:
    """A reason, the kind of an error: each in one line, as escapes."""
    bad = {"state": "OPEN", "reason": HOSTILE, "last_failure": HOSTILE}
    change = {"breaker": "auth-service-http", "new": "OPEN", "reason": HOSTILE, "time": NOW}
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.apply("report", report("api-gateway", 0, breaker("auth-service-http", **bad, transitions=[change])))
    assert shown(view).count("FAKE") == 2
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set(shown(view))
    _, row, *_ = drawn(200, health.table({"auth": {"circuit_breaker": bad}}, 200))
    assert f"{SHOWN}: {SHOWN}" in row


def test_what_does_not_change_stays() -> None:
    """A report tells only of breakers that differ, and of their latest past."""
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.apply(
        "report",
        report("auth-service", 0, breaker("auth-database", calls_by_time=[[NOW - 60, 3, 0, 0, 0, 0]])),
    )
    view.apply("report", report("auth-service", NOW - 1))
    view.apply(
        "report",
        report("auth-service", NOW - 1, breaker("auth-database", calls_by_time=[[NOW, 4, 0, 0, 0, 0]])),
    )
    [_, (_, _, found)] = view.breakers()
    assert found is not None
    assert [bucket[1] for bucket in found["calls_by_time"]] == [3, 4]


def test_a_silent_process_is_unknown_and_comes_back() -> None:
    """What it told last isn't shown as if it were now."""
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.apply("report", report("auth-service", 0, breaker("auth-database")))
    view.apply("report", report("auth-service", 0, answers=False))
    assert "auth-service doesn't answer" in shown(view)
    view.apply("report", report("auth-service", NOW - 1))
    assert "auth-service doesn't answer" not in shown(view)


def test_a_lost_gateway_is_said() -> None:
    """With the last that was known."""
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.lost_at = NOW
    assert "Disconnected since" in shown(view)
    view.apply("tick", {"now": NOW})
    assert "Disconnected" not in shown(view)


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
