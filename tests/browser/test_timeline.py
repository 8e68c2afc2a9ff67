"""The last quarter of an hour: ribbons, bars, and the tip at one moment of them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from tests.browser.conftest import PHONE
from tests.browser.fed import NOON, breaker, change, opened

Feed = Any
NAME = "auth-database"

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
    past.evaluate("one => one.scrollIntoView({ block: 'end' })")
    box = past.bounding_box()
    fed.page.mouse.move(box["x"] + box["width"] - 1, 490)
    tip = fed.page.locator("#tip")
    tip.wait_for()
    shown = tip.bounding_box()
    assert shown["y"] + shown["height"] < 490
    assert shown["x"] + shown["width"] < 1280
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
