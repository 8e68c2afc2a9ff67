"""`just watch`: the view of the breakers, from the events of the gateway's stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from deploy.config import StackError, stack_config
from deploy.terminal import watch as watching
from deploy.terminal.formatting import time_of_day
from deploy.terminal.watch import LiveView
from tests.deploy.terminal.terminal_views import (
    HELLO,
    HOSTILE,
    NOW,
    breaker,
    cells,
    rendered,
    rendered_lines,
    report,
)


def test_the_row_of_an_open_breaker_has_all_its_figures() -> None:
    """State, duration, failure meter, next probe, calls, failures, rejections and reason."""
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
    row = next(line for line in rendered(view).splitlines() if line.startswith("auth-service-http"))
    figures = ("OPEN", "1 min 12 s", "●●●●●", "42 s", "12", "5", "7")
    for expected in (*figures, "max failures reached: ConnectError"):
        assert expected in cells(row), expected
    assert "OPEN        max failures reached" in rendered(view)


COLUMNS = {
    40: "breaker state",
    41: "breaker state probe",
    54: "breaker state for probe",
    78: "breaker state for probe why",
    80: "breaker state for probe why",
    86: "breaker state for probe failed why",
    96: "breaker state for probe failed rejected why",
    103: "breaker state for probe /min failed rejected why",
    123: "breaker state for to trip probe /min failed rejected why",
    155: "breaker state for to trip probe 5 minutes /min failed rejected why",
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


@pytest.mark.parametrize("width", COLUMNS)
def test_a_narrow_terminal_shows_the_most_important_columns(width: int) -> None:
    """Only "why" ends in an ellipsis; all other cells are complete."""
    forced = breaker(
        "student-service-http",
        state="FORCED_OPEN",
        outage_since=NOW - 3599,
        failure_count=10,
        reason="forced by operator: " + "x" * 200,
        calls_by_time=[[NOW - 5, 0, 69012, 0, 0, 6789]],
        policy={"max_failures": 10, "trip": None},
    )
    opened = breaker("auth-database", state="OPEN", probe_at=NOW + 3600)
    view = LiveView("http://127.0.0.1:8080")
    one = {"process": "auth-service", "breaker": "student-service-http", "dependencies": ["auth-database"]}
    view.apply("hello", {"gateway": "api-gateway", "services": [one]})
    view.apply("report", report("api-gateway", 0, forced))
    view.apply("report", report("auth-service", 0, opened))
    heads, row, other = rendered_lines(width, view.table(NOW, width))
    assert " ".join(heads.split()) == COLUMNS[width]
    expected = {cell for name, cell in CELLS.items() if name in heads and name != "probe"}
    assert expected <= set(cells(row))
    assert ("3600 s" in cells(other)) == ("probe" in heads)
    if "why" in heads:
        assert re.fullmatch("forced by operator: .*…", cells(row)[-1])
        assert len(row) == width


@pytest.mark.parametrize("width", [40, 60, 80, 170])
def test_the_latest_six_transitions_have_one_line_each(width: int) -> None:
    """Longer lines end in an ellipsis."""
    change = {"breaker": "auth-service-http", "new": "HALF_OPEN", "reason": "attempting recovery " * 9}
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    past = [{**change, "time": NOW + n} for n in range(9)]
    view.apply("report", report("api-gateway", 0, breaker("auth-service-http", transitions=past)))
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(view.render(NOW, width))
    lines = captured.get().splitlines()
    transitions = [line for line in lines if "auth-service-http  " in line and "HALF" in line]
    assert [line[:8] for line in transitions] == [time_of_day(NOW + n) for n in range(8, 2, -1)]
    assert all(line.endswith("…") and len(line) == width for line in transitions)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("height", range(7, 20))
def test_a_low_terminal_shows_all_breakers(height: int, lost: bool) -> None:
    """It leaves out transitions first, then the heading."""
    change = {"new": "HALF_OPEN", "reason": "attempting recovery", "time": NOW}
    names = [f"breaker-{n}" for n in range(6)]
    view = LiveView("http://127.0.0.1:8080")
    one = {"process": "auth-service", "breaker": names[0], "dependencies": names[1:]}
    view.apply("hello", {"gateway": "api-gateway", "services": [one]})
    breakers = [breaker(name, transitions=[{**change, "breaker": name}]) for name in names]
    view.apply("report", report("api-gateway", 0, *breakers))
    view.lost_at = NOW if lost else None
    lines = rendered_lines(80, view.render(NOW, 80, height))
    assert len(lines) <= height
    assert [line.split()[0] for line in lines if line.startswith("breaker-")] == names
    assert ("breaker  " in " ".join(lines)) == (height > 6 + lost)
    assert sum("attempting" in line for line in lines) == max(0, min(6, height - lost - 8))


def test_watch_refuses_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It raises StackError, and prints nothing."""
    monkeypatch.setattr(watching.time, "sleep", lambda _: pytest.fail("it connects"))
    with pytest.raises(StackError, match="needs a terminal; `uv run just health`"):
        watching.watch(stack_config({}))
    assert capsys.readouterr().out == ""


def test_the_last_view_is_printed_once_after_the_alternate_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The live view uses the alternate screen. The cursor is visible again at the end."""

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
    assert live.count("auth-service-http") > 1
    assert left.count("auth-service-http") == 1
    assert "\x1b[?25h" in live + left


def test_before_the_first_event_the_view_names_the_gateways_address() -> None:
    assert "http://127.0.0.1:8080: `uv run just status`" in rendered(LiveView("http://127.0.0.1:8080"))


def test_control_characters_of_others_are_escaped() -> None:
    """In the reason and in the last failure; each stays in its line."""
    bad = {"state": "OPEN", "reason": HOSTILE, "last_failure": HOSTILE}
    change = {"breaker": "auth-service-http", "new": "OPEN", "reason": HOSTILE, "time": NOW}
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.apply("report", report("api-gateway", 0, breaker("auth-service-http", **bad, transitions=[change])))
    assert rendered(view).count("FAKE") == 2
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set(rendered(view))


def test_a_report_is_merged_into_the_one_before() -> None:
    """A report contains only the breakers that have changed, and only their new counts."""
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


def test_a_process_that_does_not_answer_is_unknown_until_it_answers() -> None:
    """Its last report isn't shown as the current state."""
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.apply("report", report("auth-service", 0, breaker("auth-database")))
    view.apply("report", report("auth-service", 0, answers=False))
    assert "auth-service doesn't answer" in rendered(view)
    view.apply("report", report("auth-service", NOW - 1))
    assert "auth-service doesn't answer" not in rendered(view)


def test_a_lost_connection_is_shown_until_the_next_event() -> None:
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    view.lost_at = NOW
    assert "Disconnected since" in rendered(view)
    view.apply("tick", {"now": NOW})
    assert "Disconnected" not in rendered(view)


def view_of(*messages: dict[str, Any]) -> LiveView:
    view = LiveView("http://127.0.0.1:8080")
    view.apply("hello", HELLO)
    for message in messages:
        view.apply("report", message)
    return view


def test_a_restart_is_among_the_changes() -> None:
    """The first start of a process that the gateway has seen is none."""
    opened = {"breaker": "auth-database", "new": "OPEN", "reason": "max failures reached", "time": NOW - 9}
    before = {
        **report("auth-service", 0, breaker("auth-database", transitions=[opened])),
        "starts": [NOW - 99],
    }
    assert "started again" not in rendered(view_of(before))
    after = {**report("auth-service", NOW - 5, breaker("auth-database")), "starts": [NOW - 99, NOW - 5]}
    lines = [line.rstrip() for line in rendered(view_of(before, after)).splitlines()]
    restart = f"{time_of_day(NOW - 5)}  auth-service          RESTARTED   started again with closed breakers"
    assert lines.index(restart) == lines.index(next(line for line in lines if "max failures" in line)) - 1


@pytest.mark.parametrize(("state", "shown"), [("HALF_OPEN", "3 s"), ("OPEN", "1 min 12 s")])
def test_half_open_is_dated_from_its_begin_and_open_from_the_outages(state: str, shown: str) -> None:
    one = breaker("auth-database", state=state, since=NOW - 3, outage_since=NOW - 72)
    row = next(
        line for line in rendered(view_of(report("auth-service", 0, one))).splitlines() if state in line
    )
    assert cells(row)[2] == shown


def test_at_80_columns_an_unknown_state_is_explained() -> None:
    lines = rendered_lines(80, view_of(report("auth-service", 0, answers=False)).table(NOW, 80))
    row = next(line for line in lines if line.startswith("auth-database"))
    assert re.search(r"UNKNOWN +auth-service doesn't", row)


@pytest.mark.parametrize("width", [40, 80, 170])
def test_the_columns_meaning_stands_below_if_there_is_room(width: int) -> None:
    """Of the columns that are shown."""
    view = view_of(report("auth-service", 0, breaker("auth-database")))
    text = " ".join(rendered_lines(width, view.render(NOW, width)))
    assert ("failed: in the last 5 minutes" in text) == (width > 80)
    assert ("for: time in this state, of OPEN the whole outage" in text) == (width > 40)
    assert "in this state" not in " ".join(rendered_lines(width, view.render(NOW, width, 6)))
