"""The last quarter of an hour: ribbons, bars, and the tooltip."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE, SMALL_PHONE, TABLET
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
    dashboard.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 500])
    dashboard.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 499])
    assert dashboard.ribbon("auth-service-http") == [("CLOSED", 505, 0)]
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


# The time axis.


@pytest.mark.parametrize(
    ("age", "span", "labels"),
    [
        (20, 60, ["−60 s", "−40", "−20", "now"]),
        (61, 120, ["−2 min", "−1", "now"]),
        (180, 180, ["−3 min", "−2", "−1", "now"]),
        (181, 300, ["−5 min", "−4", "−3", "−2", "−1", "now"]),
        (301, 600, ["−10 min", "−5", "now"]),
        (601, 900, ["−15 min", "−10", "−5", "now"]),
        (9000, 900, ["−15 min", "−10", "−5", "now"]),
    ],
)
@pytest.mark.parametrize("size", [DESKTOP, TABLET, SMALL_PHONE])
def test_the_axis_shows_the_uptime_up_to_15_minutes(
    open_dashboard: OpenDashboard, size: tuple[int, int], age: int, span: int, labels: list[str]
) -> None:
    """Of the process that has run for longest. Labels are below the grid's lines, and don't touch."""
    dashboard = open_dashboard(size)
    dashboard.hello()
    dashboard.wide_letters()
    dashboard.report("auth-service", breaker(NAME), starts=[NOON - age])
    dashboard.report("api-gateway", breaker("auth-service-http"), starts=[NOON - 1])
    assert dashboard.span(NAME) == dashboard.span("auth-service-http") == span
    assert dashboard.page.locator("#ticks span").all_inner_texts() == labels
    boxes = [one.bounding_box() for one in dashboard.page.locator("#ticks span").all()]
    assert all(a["x"] + a["width"] + 2 < b["x"] for a, b in pairwise(boxes))
    plot = dashboard.row(NAME).locator(".plot").bounding_box()
    lines = (
        dashboard.row(NAME).locator(".grid").evaluate_all("all => all.map(one => +one.getAttribute('x1'))")
    )
    assert len(lines) == len(labels) - 2
    for box, x in zip(boxes[1:-1], lines, strict=True):
        assert box["x"] + box["width"] / 2 == pytest.approx(plot["x"] + plot["width"] * x / span, abs=1)
    assert f"Last {span // 60} minute" in dashboard.row(NAME).locator(".plot").get_attribute("aria-label")


def test_bars_ribbon_and_tooltip_of_a_young_stack_agree(open_dashboard: OpenDashboard) -> None:
    """The step to five minutes comes once."""
    dashboard = open_dashboard()
    dashboard.hello()
    changes = [change(NAME, "CLOSED", "OPEN", NOON - 55)]
    seen = breaker(
        NAME, state="OPEN", since=NOON - 55, transitions=changes, calls_by_time=[[NOON - 55, 0, 5, 0, 0, 0]]
    )
    dashboard.report("auth-service", seen, starts=[NOON - 170])
    row = dashboard.row(NAME)
    assert dashboard.ribbon(NAME) == [("CLOSED", 175, 60), ("OPEN", 60, 0)]
    bar = row.locator("path.failure").get_attribute("d")
    assert bar.startswith("M120 ")
    box = row.locator(".plot").bounding_box()
    dashboard.page.mouse.move(box["x"] + box["width"] * 122.5 / 180, box["y"] + 20)
    assert dashboard.page.locator("#tip").inner_text().startswith("11:59:07 open\n5 failed")
    spans = []
    for _ in range(20):
        dashboard.wait(1)
        spans.append(dashboard.span(NAME))
    assert sorted(spans) == spans
    assert set(spans) == {180, 300}


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
