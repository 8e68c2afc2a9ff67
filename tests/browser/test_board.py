"""What the board draws and says of what it is told: on a page that the test feeds itself."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.fed import NOON, POLICY, breaker, change

Feed = Any
NAME = "auth-database"
LONG = "W" * 200
SIZES = [DESKTOP, (900, 900), PHONE, (320, 640)]


def opened(name: str, since: float, **more: Any) -> dict[str, Any]:
    """A breaker that is open."""
    changes = [change(name, "CLOSED", "OPEN", since, "max failures reached")]
    return breaker(
        name, state="OPEN", since=since, outage_since=since, probe_at=since + 60, transitions=changes, **more
    )


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


@pytest.mark.parametrize(
    ("trip", "said", "pips"),
    [
        (None, "3 of 5 in a row", 5),
        ({"kind": "ConsecutiveFailures", "n": 4}, "3 of 4 in a row", 4),
        ({"kind": "FailureCount", "n": 6, "window": {"last_seconds": 30.0}}, "3 of 6 in 30 s", 6),
        (RATE, "3 failed; opens at 50 % of 30 s", 0),
        (
            {**RATE, **FAILURES, "kind": "SlowCallRate", "threshold": 2.0},
            "3 slow; opens at 50 % of 20 calls",
            0,
        ),
        ({"kind": "AnyOf", "strategies": [RATE, RATE]}, "3 counted; any of 2 rules opens it", 0),
    ],
)
def test_how_near_it_is_to_tripping(feed: Feed, trip: Any, said: str, pips: int) -> None:
    """In plain words for each strategy; the whole of it stands in the sheet, and fits."""
    fed = feed()
    fed.all_closed()
    fed.report("auth-service", breaker(NAME, failure_count=3, policy={**POLICY, "trip": trip}))
    assert fed.row(NAME).locator(".fuse-text").inner_text().replace("\n", " ") == said
    assert fed.row(NAME).locator(".fuse i").count() == pips
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


# The ribbon.


def test_a_process_that_was_away_leaves_a_hole(feed: Feed) -> None:
    """What was before it stays; the silence stays unknown; that it started again is told."""
    fed = feed()
    fed.hello()
    fed.report("auth-service", opened(NAME, NOON - 300), starts=[NOON - 600])
    fed.wait(20)
    silence = [NOON, NOON + 20]
    fed.report("auth-service", answers=False, starts=[NOON - 600], gaps=[silence])
    fed.wait(10)
    again = NOON + 25
    starts = {"starts": [NOON - 600, again], "gaps": [[NOON, again]]}
    fed.report("auth-service", breaker(NAME, since=again), since=again, **starts)
    # 12:00:30 is drawn up to 12:00:35.
    expected = [("CLOSED", 635, 335), ("OPEN", 335, 35), ("UNKNOWN", 35, 10), ("CLOSED", 10, 0)]
    assert fed.stays(NAME) == expected
    told = fed.page.locator("#events li").all_inner_texts()
    assert told[0].split("\n")[1:] == ["auth-service", "started again", "its breakers began closed"]
    fresh = feed()
    fresh.now = fed.now
    fresh.hello()
    whole = breaker(NAME, since=again, transitions=[change(NAME, "CLOSED", "OPEN", NOON - 300)])
    fresh.report("auth-service", whole, **starts)
    assert fresh.stays(NAME) == expected
    assert fresh.page.locator("#events li").count() == len(told) == 2


def test_what_starts_again_begins_closed(feed: Feed) -> None:
    """No transition says so: it was open before, and opens again later."""
    fed = feed()
    fed.hello()
    opens = [change(NAME, "CLOSED", "OPEN", NOON - 300), change(NAME, "CLOSED", "OPEN", NOON - 100)]
    again = {"starts": [NOON - 600, NOON - 200], "gaps": [[NOON - 210, NOON - 200]]}
    fed.report("auth-service", breaker(NAME, state="OPEN", since=NOON - 100, transitions=opens), **again)
    states = [state for state, _, _ in fed.stays(NAME)]
    assert states == ["CLOSED", "OPEN", "UNKNOWN", "CLOSED", "OPEN"]


def test_a_gateway_that_started_again_leaves_a_hole_too(feed: Feed) -> None:
    """It doesn't know of it, but the page that was open does."""
    fed = feed()
    fed.hello()
    edge = "auth-service-http"
    fed.report("api-gateway", breaker(edge), starts=[NOON - 600])
    fed.wait(30)
    fed.report("api-gateway", breaker(edge, since=NOON + 20), starts=[NOON + 20])
    assert fed.stays(edge) == [("CLOSED", 635, 35), ("UNKNOWN", 35, 15), ("CLOSED", 15, 0)]
    assert "started again" in fed.page.inner_text("#events")


def test_another_worker_is_not_another_start(feed: Feed) -> None:
    """A page that comes back may reach a worker that was started a little later than the first."""
    fed = feed()
    fed.hello()
    fed.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 600])
    fed.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 599])
    assert fed.stays("auth-service-http") == [("CLOSED", 605, 0)]
    assert fed.page.locator("#events li").count() == 0


def test_the_plot_stands_still_for_five_seconds(feed: Feed) -> None:
    """It moves by whole buckets, without gaps between them: nothing flickers."""
    fed = feed()
    fed.all_closed()
    calls = [[NOON - 5 * n, 10, 0, 0, 0, 0] for n in range(30, 0, -1)]
    fed.report("auth-service", breaker(NAME, calls_by_time=calls))
    path = fed.row(NAME).locator("path.success")
    drawn = set()
    for _ in range(5):
        drawn.add(path.get_attribute("d"))
        fed.wait(0.99)
    assert len(drawn) == 1
    starts = [float(x) for x in re.findall(r"M([\d.]+) ", drawn.pop())]
    assert all(b - a == 5 for a, b in pairwise(starts))


# The tip.


def test_the_tip_stays_on_the_screen_and_goes_on(feed: Feed) -> None:
    """Above the pointer at the bottom; what it says is of now, though the pointer rests."""
    fed = feed((1280, 500))
    fed.all_closed()
    past = fed.row("student-service-grpc").locator(".plot")
    past.scroll_into_view_if_needed()
    box = past.bounding_box()
    fed.page.mouse.move(box["x"] + box["width"] - 1, min(box["y"] + 20, 495))
    tip = fed.page.locator("#tip")
    shown = tip.bounding_box()
    assert shown["y"] + shown["height"] <= 500
    assert "12:00:00 closed" in tip.inner_text()
    fed.wait(10)
    assert "12:00:10 closed" in tip.inner_text()


def test_a_finger_shows_the_tip(feed: Feed) -> None:
    """A tap on a plot shows it, above; a tap elsewhere hides it."""
    fed = feed(PHONE, has_touch=True, is_mobile=True)
    fed.all_closed()
    tip = fed.page.locator("#tip")
    fed.row(NAME).locator(".plot").tap()
    assert tip.is_visible()
    fed.page.tap("#headline")
    assert tip.is_hidden()


# Screens.


@pytest.mark.parametrize("size", [DESKTOP, (900, 900)])
def test_names_take_one_line(feed: Feed, size: tuple[int, int]) -> None:
    """And stay within their column; a state of two words takes one line in the list."""
    fed = feed(size)
    fed.all_closed()
    fed.wide_letters()
    fed.report("auth-service", breaker(NAME, transitions=[change(NAME, "CLOSED", "FORCED_OPEN", NOON - 9)]))
    name = fed.row("student-service-grpc").locator(".name")
    assert name.evaluate("one => one.clientHeight") < 30
    who = fed.row("student-service-grpc").locator(".who")
    ends = [one.bounding_box()["x"] + one.bounding_box()["width"] for one in (name, who)]
    assert ends[0] <= ends[1]
    assert fed.page.locator("#events .became").evaluate("one => one.getClientRects().length") == 1
    assert fed.page.locator("#events li").evaluate("one => one.clientHeight") < 36


def test_the_smallest_screen_keeps_names_whole(feed: Feed) -> None:
    """One line at the top, one line for a name."""
    fed = feed((320, 640))
    fed.all_closed()
    fed.wide_letters()
    fed.report("student-service", breaker("student-service-grpc", state="FORCED_OPEN"))
    bottoms = fed.page.locator(".top > *").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().bottom)"
    )
    assert max(bottoms) < 60
    assert fed.row("student-service-grpc").locator(".name").evaluate("one => one.clientHeight") < 30


def test_fingers_meet_enough(feed: Feed) -> None:
    """A name's whole block opens the sheet; a field is large enough that no phone zooms in."""
    fed = feed(PHONE, has_touch=True, is_mobile=True)
    fed.all_closed()
    box = fed.row(NAME).locator(".who").bounding_box()
    assert box["height"] >= 40
    fed.page.touchscreen.tap(box["x"] + 5, box["y"] + box["height"] - 3)
    assert fed.page.locator("#detail[open]").count() == 1
    fed.page.tap("#detail >> text=Sign in to act")
    assert fed.page.locator("#token").evaluate("one => parseFloat(getComputedStyle(one).fontSize)") >= 16


def test_few_colours_keep_their_meaning(feed: Feed) -> None:
    """Where the system forces its own, what speaks by colour alone keeps ours."""
    fed = feed(forced_colors="active")
    fed.all_closed()
    fed.report("auth-service", breaker(NAME, failure_count=1))
    background = "one => getComputedStyle(one).backgroundColor"
    for selector in (".lead", ".fuse i.lit"):
        shown = fed.row(NAME).locator(selector).first.evaluate(background)
        assert shown not in ("rgb(255, 255, 255)", "rgb(0, 0, 0)", "rgba(0, 0, 0, 0)"), selector
    key = "one => getComputedStyle(one, '::before').backgroundColor"
    keys = fed.page.locator(".key").evaluate_all(f"all => all.map({key})")
    assert len(set(keys)) == 4


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


@pytest.mark.parametrize("size", SIZES)
def test_the_axis_is_where_its_lines_are(feed: Feed, size: tuple[int, int]) -> None:
    """Each label below its line, none touching the next, none beyond the page."""
    fed = feed(size)
    fed.all_closed()
    fed.wide_letters()
    boxes = [one.bounding_box() for one in fed.page.locator(".ticks span").all()]
    plot = fed.row(NAME).locator(".plot").bounding_box()
    for box, share in zip(boxes[1:3], (1 / 3, 2 / 3), strict=True):
        assert box["x"] + box["width"] / 2 == pytest.approx(plot["x"] + plot["width"] * share, abs=1)
    assert all(a["x"] + a["width"] + 4 < b["x"] for a, b in pairwise(boxes))
    assert boxes[0]["x"] >= 0
    assert boxes[-1]["x"] + boxes[-1]["width"] <= size[0]


def test_a_wide_screen_is_used(feed: Feed) -> None:
    """By the plots; the top stays above what it belongs to."""
    fed = feed((2200, 900))
    fed.all_closed()
    assert fed.row(NAME).locator(".plot").bounding_box()["width"] > 900
    [top, main] = [fed.page.locator(one).bounding_box() for one in (".top", "main")]
    assert (top["x"], top["width"]) == (main["x"], main["width"])
