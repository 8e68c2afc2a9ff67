"""The last quarter of an hour: ribbons, bars, and the tooltip."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from tests.browser.conftest import PHONE
from tests.browser.fake_stream import NOON, breaker, change, opened

OpenDashboard = Any
NAME = "auth-database"

# The ribbon.


def test_the_absence_of_a_process_is_unknown_in_the_ribbon(open_dashboard: OpenDashboard) -> None:
    """The states before it stay, and the list has "started again"; also on a page opened later."""
    dashboard = open_dashboard()
    dashboard.hello()
    dashboard.report("auth-service", opened(NAME, NOON - 300), starts=[NOON - 600])
    dashboard.wait(20)
    silence = [NOON, NOON + 20]
    dashboard.report("auth-service", answers=False, starts=[NOON - 600], gaps=[silence])
    dashboard.wait(10)
    again = NOON + 25
    starts = {"starts": [NOON - 600, again], "gaps": [[NOON, again]]}
    dashboard.report("auth-service", breaker(NAME, since=again), since=again, **starts)
    # 12:00:30 is drawn up to 12:00:35.
    expected = [("CLOSED", 635, 335), ("OPEN", 335, 35), ("UNKNOWN", 35, 10), ("CLOSED", 10, 0)]
    assert dashboard.ribbon(NAME) == expected
    events = dashboard.page.locator("#events li").all_inner_texts()
    assert events[0].split("\n")[1:] == ["auth-service", "started again", "its breakers began closed"]
    fresh = open_dashboard()
    fresh.now = dashboard.now
    fresh.hello()
    whole = breaker(NAME, since=again, transitions=[change(NAME, "CLOSED", "OPEN", NOON - 300)])
    fresh.report("auth-service", whole, **starts)
    assert fresh.ribbon(NAME) == expected
    assert fresh.page.locator("#events li").count() == len(events) == 2


def test_after_a_restart_the_ribbon_is_closed(open_dashboard: OpenDashboard) -> None:
    """Without a transition to CLOSED: the breaker was open before, and opens again later."""
    dashboard = open_dashboard()
    dashboard.hello()
    opens = [change(NAME, "CLOSED", "OPEN", NOON - 300), change(NAME, "CLOSED", "OPEN", NOON - 100)]
    again = {"starts": [NOON - 600, NOON - 200], "gaps": [[NOON - 210, NOON - 200]]}
    dashboard.report(
        "auth-service", breaker(NAME, state="OPEN", since=NOON - 100, transitions=opens), **again
    )
    states = [state for state, _, _ in dashboard.ribbon(NAME)]
    assert states == ["CLOSED", "OPEN", "UNKNOWN", "CLOSED", "OPEN"]


def test_a_restart_of_the_gateway_is_unknown_in_the_ribbon(open_dashboard: OpenDashboard) -> None:
    """The new gateway doesn't report its absence; the open page has noticed it."""
    dashboard = open_dashboard()
    dashboard.hello()
    edge = "auth-service-http"
    dashboard.report("api-gateway", breaker(edge), starts=[NOON - 600])
    dashboard.wait(30)
    dashboard.report("api-gateway", breaker(edge, since=NOON + 20), starts=[NOON + 20])
    assert dashboard.ribbon(edge) == [("CLOSED", 635, 35), ("UNKNOWN", 35, 15), ("CLOSED", 15, 0)]
    assert "started again" in dashboard.page.inner_text("#events")


def test_another_worker_is_not_shown_as_a_restart(open_dashboard: OpenDashboard) -> None:
    """A page that reconnects may reach a worker that started a second later."""
    dashboard = open_dashboard()
    dashboard.hello()
    dashboard.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 600])
    dashboard.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 599])
    assert dashboard.ribbon("auth-service-http") == [("CLOSED", 605, 0)]
    assert dashboard.page.locator("#events li").count() == 0


def test_the_plot_moves_by_whole_buckets_of_five_seconds(open_dashboard: OpenDashboard) -> None:
    """Without gaps between them, so that nothing flickers."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    calls = [[NOON - 5 * n, 10, 0, 0, 0, 0] for n in range(30, 0, -1)]
    dashboard.report("auth-service", breaker(NAME, calls_by_time=calls))
    path = dashboard.row(NAME).locator("path.success")
    drawn = set()
    for _ in range(5):
        drawn.add(path.get_attribute("d"))
        dashboard.wait(0.99)
    assert len(drawn) == 1
    starts = [float(x) for x in re.findall(r"M([\d.]+) ", drawn.pop())]
    assert all(b - a == 5 for a, b in pairwise(starts))


# The tooltip.


def test_the_tooltip_stays_on_the_screen_and_is_updated(open_dashboard: OpenDashboard) -> None:
    """It is above a pointer at the bottom, and updated while the pointer doesn't move."""
    dashboard = open_dashboard((1280, 500))
    dashboard.all_closed()
    past = dashboard.row("student-service-grpc").locator(".plot")
    past.evaluate("one => one.scrollIntoView({ block: 'end' })")
    box = past.bounding_box()
    dashboard.page.mouse.move(box["x"] + box["width"] - 1, 490)
    tip = dashboard.page.locator("#tip")
    tip.wait_for()
    shown = tip.bounding_box()
    assert shown["y"] + shown["height"] < 490
    assert shown["x"] + shown["width"] < 1280
    assert "12:00:00 closed" in tip.inner_text()
    dashboard.wait(10)
    assert "12:00:10 closed" in tip.inner_text()


def test_a_tap_shows_the_tooltip(open_dashboard: OpenDashboard) -> None:
    """A tap outside the plot hides it."""
    dashboard = open_dashboard(PHONE, has_touch=True, is_mobile=True)
    dashboard.all_closed()
    tip = dashboard.page.locator("#tip")
    dashboard.row(NAME).locator(".plot").tap()
    assert tip.is_visible()
    dashboard.page.tap("#headline")
    assert tip.is_hidden()
