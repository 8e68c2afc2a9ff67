"""What the board draws and says of what it is told: on a page that the test feeds itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.conftest import SIZES
from tests.browser.fed import NOON, POLICY, breaker, change, opened

Feed = Any
NAME = "auth-database"
LONG = "W" * 200


# What it says.


@pytest.mark.parametrize("size", SIZES)
def test_a_long_reason_breaks(feed: Feed, size: tuple[int, int]) -> None:
    """In its row to three lines at most, in the list and in the sheet as often as it takes."""
    fed = feed(size)
    fed.all_closed()
    changes = [change(NAME, "CLOSED", "OPEN", NOON - 9, LONG)]
    failures = [{"time": NOON - 9, "count": 1, "error": LONG}]
    held = breaker(NAME, state="FORCED_OPEN", reason=LONG, transitions=changes, failures=failures)
    fed.report("auth-service", held)
    assert fed.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert fed.page.locator("#events .reason").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert fed.row(NAME).locator(".why").evaluate("one => one.clientHeight") < 60
    assert (
        fed.row("school-database").locator(".why").evaluate("one => getComputedStyle(one).display") == "none"
    )
    sheet = fed.sheet(NAME)
    assert sheet.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_long_outages_speak_of_what_is_kept(feed: Feed) -> None:
    """Rejections are known of a quarter of an hour; of no outage that began before it."""
    fed = feed()
    fed.all_closed()
    calls = [[NOON - 1000, 0, 0, 0, 0, 5], [NOON - 100, 0, 0, 0, 0, 7]]
    fed.report("auth-service", opened(NAME, NOON - 300, calls_by_time=calls))
    assert "7 calls rejected in that time" in fed.page.inner_text("#subline")
    fed.report("auth-service", opened(NAME, NOON - 7200, calls_by_time=calls))
    assert "Out for 2 h 0 min · 7 calls rejected in the last 15 minutes" in fed.page.inner_text("#subline")


def test_who_is_half_open_is_out_as_well(feed: Feed) -> None:
    """Where nobody calls it stays so: the outage isn't over, and is counted from the first."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", opened(NAME, NOON - 9))
    probing = {"state": "HALF_OPEN", "since": NOON - 60, "outage_since": NOON - 700, "probe_at": None}
    fed.report("school-service", breaker("school-database", **probing))
    assert fed.page.inner_text("#headline") == "auth-database is open, one half-open."
    assert fed.page.inner_text("#subline").startswith("Out for 11 min 40 s")


def test_a_long_outage_keeps_its_beginning_in_the_list(feed: Feed) -> None:
    """However often it has probed in vain since."""
    fed = feed()
    fed.all_closed()
    probes = [
        change(NAME, *move, NOON - 800 + 8 * n, "recovery failed" if n % 2 else "attempting recovery")
        for n, move in enumerate([("OPEN", "HALF_OPEN"), ("HALF_OPEN", "OPEN")] * 45)
    ]
    first = change(NAME, "CLOSED", "OPEN", NOON - 820, "max failures reached")
    fed.report("auth-service", {**opened(NAME, NOON - 820), "transitions": [first, *probes]})
    assert "max failures reached" in fed.page.locator("#events li:last-child").inner_text()


def test_only_an_outage_is_counted_from_its_first_opening(feed: Feed) -> None:
    """What was forced open during one is forced open since then."""
    fed = feed()
    fed.all_closed()
    times = {"since": NOON - 9, "outage_since": NOON - 600}
    fed.report("auth-service", breaker(NAME, state="FORCED_OPEN", **times))
    assert fed.row(NAME).locator(".since").inner_text() == "for 9 s"
    assert fed.page.inner_text("#subline").startswith("Out for 9 s")
    assert "Forced open for 9 s, since 11:59:51." in fed.sheet(NAME).inner_text()
    fed.page.keyboard.press("Escape")
    fed.report("auth-service", breaker(NAME, state="HALF_OPEN", **times))
    assert fed.row(NAME).locator(".since").inner_text() == "· out for 10 min"


def test_calls_per_minute_do_not_saw(feed: Feed) -> None:
    """Two calls a second are 120 a minute at any moment."""
    fed = feed()
    fed.all_closed()
    steady = [[NOON - 5 * n, 10, 0, 0, 0, 0] for n in range(30, 0, -1)]
    for second in range(1, 6):
        fed.wait(1)
        fed.report("auth-service", breaker(NAME, calls_by_time=[*steady, [NOON, 2 * second, 0, 0, 0, 0]]))
        assert fed.row(NAME).locator(".minute .count").inner_text() == "120"


def test_events_of_yesterday_get_their_date(feed: Feed) -> None:
    """Also where the page has been open since."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", opened(NAME, NOON - 60))
    assert fed.page.inner_text("#events time") == "11:59:00"
    fed.now += 86400
    fed.page.clock.set_system_time(fed.now)
    fed.hello()
    fed.report("auth-service")
    assert re.match(r"\d+ \w+, 11:59:00", fed.page.inner_text("#events time"))


FAILURES = {"window": {"last_calls": 20}, "minimum_calls": 10}
RATE = {"kind": "FailureRate", "rate": 0.5, "window": {"last_seconds": 30.0}, "minimum_calls": 10}
SLOW = {**RATE, **FAILURES, "kind": "SlowCallRate", "threshold": 2.0}


@pytest.mark.parametrize(
    ("trip", "said", "pips"),
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
        ({"kind": "AnyOf", "strategies": [RATE, SLOW]}, "3 failed, 2 slow; any of 2 rules opens it", 0),
        ({"kind": "AnyOf", "strategies": [RATE, RATE]}, "3 counted; any of 2 rules opens it", 0),
    ],
)
def test_how_near_it_is_to_tripping(feed: Feed, trip: Any, said: str, failure_meter: int) -> None:
    """In plain words for each strategy; the whole of it stands in the sheet, and fits."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", breaker(NAME, failure_count=3, slow_count=2, policy={**POLICY, "trip": trip}))
    assert fed.row(NAME).locator(".fuse-text").inner_text().replace("\n", " ") == said
    assert fed.row(NAME).locator(".fuse i").count() == failure_meter
    if trip is not None:
        told = fed.sheet(NAME).locator(".policy .long dd")
        assert trip["kind"] in told.inner_text()
        assert told.evaluate("one => getComputedStyle(one).textAlign") == "left"


def test_a_wait_of_years_fits(feed: Feed) -> None:
    """Its column, that is."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", {**opened(NAME, NOON - 9), "probe_at": NOON + 1e11})
    wait = fed.row(NAME).locator(".wait")
    assert wait.inner_text() == "probe in over 100 y"
    assert wait.evaluate("one => one.scrollWidth <= one.parentElement.clientWidth")


def test_numbers_have_names_for_those_who_listen(feed: Feed) -> None:
    """And only the headline speaks up by itself."""
    fed = feed()
    fed.all_closed()
    assert fed.row(NAME).locator(".number").all_text_contents() == [
        "0 calls in the last minute",
        "0 failed in 15 minutes",
        "0 rejected in 15 minutes",
    ]
    live = fed.page.locator("main :is([aria-live], [role=status])").all_inner_texts()
    assert live == ["All seven breakers are closed."]


def test_what_is_not_known_is_not_counted_down(feed: Feed) -> None:
    """No fuse; the last numbers stay, and step back."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", breaker(NAME, failure_count=2, calls_by_time=[[NOON - 20, 9, 0, 0, 0, 0]]))
    fed.wait(50)
    fed.report("auth-service", answers=False, gaps=[[NOON, fed.now]])
    row = fed.row(NAME)
    assert (row.locator(".fuse i").count(), row.locator(".fuse-text").inner_text()) == (0, "")
    assert row.locator(".minute .count").inner_text() == "9"
    colour = "one => getComputedStyle(one).color"
    soft = row.locator(".between").evaluate(colour)
    assert row.locator(".minute .count").evaluate(colour) == soft


# Without a connection.


def test_a_lost_gateway_is_told_everywhere(feed: Feed) -> None:
    """On the page, in the tab and in the sheet; and it is all over when it is back."""
    fed = feed()
    fed.all_closed()
    sheet = fed.sheet(NAME)
    fed.page.clock.run_for(5000)
    assert fed.page.inner_text("#link-text") == "Disconnected since 12:00:04. Trying again."
    assert fed.page.title() == "Disconnected · Breakers"
    assert "unknown.svg" in fed.page.get_attribute("#icon", "href")
    assert "Disconnected. As of the last report: Closed for 1 h 0 min" in sheet.inner_text()
    fed.now += 5
    fed.all_closed()
    assert fed.page.title() == "Breakers"
    assert "closed.svg" in fed.page.get_attribute("#icon", "href")
    assert "Disconnected" not in sheet.inner_text()


def test_a_page_that_never_heard_anything_says_so(feed: Feed) -> None:
    """It can't know whether the gateway is gone or has too many viewers."""
    fed = feed()
    fed.page.clock.run_for(5000)
    assert fed.page.inner_text("#link-text").startswith(
        "Can’t connect: the gateway is gone, or has too many viewers"
    )
    assert fed.page.inner_text("#headline") == "Nothing is known yet."


def test_it_works_where_nothing_may_be_kept(feed: Feed) -> None:
    """With the browser's storage blocked; signing in holds as long as the page."""
    fed = feed()
    block = "{ get() { throw new DOMException('blocked', 'SecurityError'); } }"
    areas = ["localStorage", "sessionStorage"]
    fed.page.add_init_script(";".join(f"Object.defineProperty(window, '{one}', {block})" for one in areas))
    fed.page.reload()
    fed.all_closed()
    fed.page.click("#theme")
    assert fed.page.inner_text("#theme") == "Light"
    fed.answer([])
    fed.page.click("#sign")
    fed.sign_in()
    assert fed.page.inner_text("#sign") == "Sign out"
