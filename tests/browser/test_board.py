"""The texts and figures of the dashboard for given reports, on a page with a fake stream."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.conftest import SIZES
from tests.browser.fake_stream import NOON, POLICY, breaker, change, opened

OpenDashboard = Any
NAME = "auth-database"
LONG = "W" * 200


# Texts and figures.


@pytest.mark.parametrize("size", SIZES)
def test_a_long_reason_is_wrapped(open_dashboard: OpenDashboard, size: tuple[int, int]) -> None:
    """To at most three lines in its row, and to any number of lines in the list and in the sheet."""
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    changes = [change(NAME, "CLOSED", "OPEN", NOON - 9, LONG)]
    failures = [{"time": NOON - 9, "count": 1, "error": LONG}]
    held = breaker(NAME, state="FORCED_OPEN", reason=LONG, transitions=changes, failures=failures)
    dashboard.report("auth-service", held)
    assert dashboard.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert dashboard.page.locator("#events .reason").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert dashboard.row(NAME).locator(".why").evaluate("one => one.clientHeight") < 60
    assert (
        dashboard.row("school-database").locator(".why").evaluate("one => getComputedStyle(one).display")
        == "none"
    )
    sheet = dashboard.sheet(NAME)
    assert sheet.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_the_rejections_of_a_long_outage_are_those_of_15_minutes(open_dashboard: OpenDashboard) -> None:
    """The page has no older counts."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    calls = [[NOON - 1000, 0, 0, 0, 0, 5], [NOON - 100, 0, 0, 0, 0, 7]]
    dashboard.report("auth-service", opened(NAME, NOON - 300, calls_by_time=calls))
    assert "7 calls rejected in that time" in dashboard.page.inner_text("#subline")
    dashboard.report("auth-service", opened(NAME, NOON - 7200, calls_by_time=calls))
    assert "Out for 2 h 0 min · 7 calls rejected in the last 15 minutes" in dashboard.page.inner_text(
        "#subline"
    )


def test_the_outage_of_a_half_open_breaker_goes_on(open_dashboard: OpenDashboard) -> None:
    """Its duration is counted from its first opening."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report("auth-service", opened(NAME, NOON - 9))
    probing = {"state": "HALF_OPEN", "since": NOON - 60, "outage_since": NOON - 700, "probe_at": None}
    dashboard.report("school-service", breaker("school-database", **probing))
    assert dashboard.page.inner_text("#headline") == "auth-database is open, one half-open."
    assert dashboard.page.inner_text("#subline").startswith("Out for 11 min 40 s")


def test_the_list_keeps_the_first_opening_of_a_long_outage(open_dashboard: OpenDashboard) -> None:
    """After any number of failed probes."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    probes = [
        change(NAME, *move, NOON - 800 + 8 * n, "recovery failed" if n % 2 else "attempting recovery")
        for n, move in enumerate([("OPEN", "HALF_OPEN"), ("HALF_OPEN", "OPEN")] * 45)
    ]
    first = change(NAME, "CLOSED", "OPEN", NOON - 820, "max failures reached")
    dashboard.report("auth-service", {**opened(NAME, NOON - 820), "transitions": [first, *probes]})
    assert "max failures reached" in dashboard.page.locator("#events li:last-child").inner_text()


def test_only_an_outage_is_counted_from_its_first_opening(open_dashboard: OpenDashboard) -> None:
    """A breaker forced open during an outage is counted from the operator's command."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    times = {"since": NOON - 9, "outage_since": NOON - 600}
    dashboard.report("auth-service", breaker(NAME, state="FORCED_OPEN", **times))
    assert dashboard.row(NAME).locator(".since").inner_text() == "for 9 s"
    assert dashboard.page.inner_text("#subline").startswith("Out for 9 s")
    assert "Forced open for 9 s, since 11:59:51." in dashboard.sheet(NAME).inner_text()
    dashboard.page.keyboard.press("Escape")
    dashboard.report("auth-service", breaker(NAME, state="HALF_OPEN", **times))
    assert dashboard.row(NAME).locator(".since").inner_text() == "for 9 s"
    assert dashboard.row(NAME).locator(".wait").inner_text() == "out for 10 min"


def test_the_calls_per_minute_of_a_steady_load_are_constant(open_dashboard: OpenDashboard) -> None:
    """Two calls per second are 120 per minute at any second of a bucket."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    steady = [[NOON - 5 * n, 10, 0, 0, 0, 0] for n in range(30, 0, -1)]
    for second in range(1, 6):
        dashboard.wait(1)
        dashboard.report(
            "auth-service", breaker(NAME, calls_by_time=[*steady, [NOON, 2 * second, 0, 0, 0, 0]])
        )
        assert dashboard.row(NAME).locator(".minute .count").inner_text() == "120"


def test_yesterdays_transitions_have_a_date(open_dashboard: OpenDashboard) -> None:
    """Also on a page that has been open since."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report("auth-service", opened(NAME, NOON - 60))
    assert dashboard.page.inner_text("#events time") == "11:59:00"
    dashboard.now += 86400
    dashboard.page.clock.set_system_time(dashboard.now)
    dashboard.hello()
    dashboard.report("auth-service")
    assert re.match(r"\d+ \w+, 11:59:00", dashboard.page.inner_text("#events time"))


FAILURES = {"window": {"last_calls": 20}, "minimum_calls": 10}
RATE = {"kind": "FailureRate", "rate": 0.5, "window": {"last_seconds": 30.0}, "minimum_calls": 10}
SLOW = {**RATE, **FAILURES, "kind": "SlowCallRate", "threshold": 2.0}


@pytest.mark.parametrize(
    ("usual", "text"),
    [
        (0.012, "3.1 of 6 for opening; usually 1.2 % fail"),
        (None, "3.1 of 6 for opening; the usual isn't known yet"),
    ],
)
def test_an_adaptive_breaker_shows_what_it_has_learned(
    open_dashboard: OpenDashboard, usual: float | None, text: str
) -> None:
    dashboard = open_dashboard()
    dashboard.all_closed()
    learned = {"usual": usual, "traffic": 5.0, "evidence": 3.1, "threshold": 6.0}
    policy = {**POLICY, "trip": {"kind": "Adaptive"}}
    dashboard.report("auth-service", breaker(NAME, failure_count=3, policy=policy, learned=learned))
    assert dashboard.row(NAME).locator(".fuse-text").inner_text().replace("\n", " ") == text


@pytest.mark.parametrize(
    ("trip", "text", "dots"),
    [
        (None, "3 of 5 in a row", 5),
        ({"kind": "ConsecutiveFailures", "n": 4}, "3 of 4 in a row", 4),
        ({"kind": "FailureCount", "n": 6, "window": {"last_seconds": 30.0}}, "3 of 6 in 30 s", 6),
        (RATE, "3 failed; opens at 50 % of 30 s", 0),
        (
            SLOW,
            "2 slow; opens at 50 % of 20 calls",
            0,
        ),
        ({"kind": "Adaptive", "failures": 6}, "nothing learned yet", 0),
        ({"kind": "AnyOf", "strategies": [RATE, SLOW]}, "3 failed, 2 slow; any of 2 rules opens it", 0),
        ({"kind": "AnyOf", "strategies": [RATE, RATE]}, "3 counted; any of 2 rules opens it", 0),
    ],
)
def test_the_failure_meter_of_each_trip_strategy(
    open_dashboard: OpenDashboard, trip: Any, text: str, dots: int
) -> None:
    """In words, with dots for consecutive failures. The sheet contains the whole strategy."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report(
        "auth-service", breaker(NAME, failure_count=3, slow_count=2, policy={**POLICY, "trip": trip})
    )
    assert dashboard.row(NAME).locator(".fuse-text").inner_text().replace("\n", " ") == text
    assert dashboard.row(NAME).locator(".fuse i").count() == dots
    if trip is not None:
        strategy = dashboard.sheet(NAME).locator(".policy .long dd")
        assert trip["kind"] in strategy.inner_text()
        assert strategy.evaluate("one => getComputedStyle(one).textAlign") == "left"


def test_a_wait_of_years_fits_into_its_column(open_dashboard: OpenDashboard) -> None:
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report("auth-service", {**opened(NAME, NOON - 9), "probe_at": NOON + 1e11})
    wait = dashboard.row(NAME).locator(".wait")
    assert wait.inner_text() == "probe in over 100 y"
    assert wait.evaluate("one => one.scrollWidth <= one.parentElement.clientWidth")


def test_numbers_have_labels_for_screen_readers(open_dashboard: OpenDashboard) -> None:
    """Of all texts, only the headline is announced when it changes."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    assert dashboard.row(NAME).locator(".number").all_text_contents() == [
        "0 calls in the last minute",
        "0 failed in 15 minutes",
        "0 rejected in 15 minutes",
    ]
    live = dashboard.page.locator("main :is([aria-live], [role=status])").all_inner_texts()
    assert live == ["All seven breakers are closed."]


def test_an_unknown_breaker_keeps_its_last_numbers_in_grey(open_dashboard: OpenDashboard) -> None:
    """Without a failure meter."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report(
        "auth-service", breaker(NAME, failure_count=2, calls_by_time=[[NOON - 20, 9, 0, 0, 0, 0]])
    )
    dashboard.wait(50)
    dashboard.report("auth-service", answers=False, gaps=[[NOON, dashboard.now]])
    row = dashboard.row(NAME)
    assert row.locator(".fuse i").count() == 0
    assert row.locator(".fuse-text").inner_text() == ""
    assert row.locator(".minute .count").inner_text() == "9"
    colour = "one => getComputedStyle(one).color"
    soft = row.locator(".between").evaluate(colour)
    assert row.locator(".minute .count").evaluate(colour) == soft


# Without a connection or storage.


def test_a_lost_connection_is_shown_on_page_tab_and_sheet(open_dashboard: OpenDashboard) -> None:
    """Until the next report."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    sheet = dashboard.sheet(NAME)
    dashboard.page.clock.run_for(5000)
    assert dashboard.page.inner_text("#link-text") == "Disconnected since 12:00:04. Trying again."
    assert dashboard.page.title() == "Disconnected · Breakers"
    assert "unknown.svg" in dashboard.page.get_attribute("#icon", "href")
    assert "Disconnected. As of the last report: Closed for 1 h 0 min" in sheet.inner_text()
    dashboard.now += 5
    dashboard.all_closed()
    assert dashboard.page.title() == "Breakers"
    assert "closed.svg" in dashboard.page.get_attribute("#icon", "href")
    assert "Disconnected" not in sheet.inner_text()


def test_a_page_without_any_event_names_the_possible_reasons(open_dashboard: OpenDashboard) -> None:
    """The gateway is down, or has too many viewers."""
    dashboard = open_dashboard()
    dashboard.page.clock.run_for(5000)
    assert dashboard.page.inner_text("#link-text").startswith(
        "Can’t connect: the gateway is gone, or has too many viewers"
    )
    assert dashboard.page.inner_text("#headline") == "Nothing is known yet."


def test_the_page_works_with_blocked_storage(open_dashboard: OpenDashboard) -> None:
    """Signing in lasts until the page is closed."""
    dashboard = open_dashboard()
    block = "{ get() { throw new DOMException('blocked', 'SecurityError'); } }"
    areas = ["localStorage", "sessionStorage"]
    dashboard.page.add_init_script(
        ";".join(f"Object.defineProperty(window, '{one}', {block})" for one in areas)
    )
    dashboard.page.reload()
    dashboard.all_closed()
    dashboard.page.click("#theme")
    assert dashboard.page.inner_text("#theme") == "Light"
    dashboard.answer([])
    dashboard.page.click("#sign")
    dashboard.sign_in()
    assert dashboard.page.inner_text("#sign") == "Sign out"
