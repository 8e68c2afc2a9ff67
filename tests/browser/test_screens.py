"""The dashboard on narrow and wide screens, with touch, and with forced colours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE, SIZES, TABLET
from tests.browser.fake_stream import NOON, breaker, change

OpenDashboard = Any
NAME = "auth-database"


@pytest.mark.parametrize("size", [DESKTOP, TABLET])
def test_names_take_one_line(open_dashboard: OpenDashboard, size: tuple[int, int]) -> None:
    """Within their column. In the list, a state of two words takes one line."""
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    dashboard.wide_letters()
    dashboard.report(
        "auth-service", breaker(NAME, transitions=[change(NAME, "CLOSED", "FORCED_OPEN", NOON - 9)])
    )
    name = dashboard.row("student-service-grpc").locator(".name")
    assert name.evaluate("one => one.clientHeight") < 30
    who = dashboard.row("student-service-grpc").locator(".who")
    ends = [one.bounding_box()["x"] + one.bounding_box()["width"] for one in (name, who)]
    assert ends[0] <= ends[1]
    assert dashboard.page.locator("#events .became").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert dashboard.page.locator("#events li").evaluate("one => one.clientHeight") < 36


def test_on_the_smallest_screen_names_take_one_line(open_dashboard: OpenDashboard) -> None:
    """So does the bar at the top."""
    dashboard = open_dashboard((320, 640))
    dashboard.all_closed()
    dashboard.wide_letters()
    dashboard.report("student-service", breaker("student-service-grpc", state="FORCED_OPEN"))
    bottoms = dashboard.page.locator(".top > *").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().bottom)"
    )
    assert max(bottoms) < 60
    assert dashboard.row("student-service-grpc").locator(".name").evaluate("one => one.clientHeight") < 30


def test_touch_targets_are_large_enough(open_dashboard: OpenDashboard) -> None:
    """The whole block of a name opens the sheet. Fields have 16 px, so that no phone zooms in."""
    dashboard = open_dashboard(PHONE, has_touch=True, is_mobile=True)
    dashboard.all_closed()
    box = dashboard.row(NAME).locator(".who").bounding_box()
    assert box["height"] >= 40
    dashboard.page.touchscreen.tap(box["x"] + 5, box["y"] + box["height"] - 3)
    assert dashboard.page.locator("#detail[open]").count() == 1
    dashboard.page.tap("#detail >> text=Sign in to act")
    assert (
        dashboard.page.locator("#token").evaluate("one => parseFloat(getComputedStyle(one).fontSize)") >= 16
    )


def test_forced_colours_keep_our_state_colours(open_dashboard: OpenDashboard) -> None:
    """For elements whose meaning is their colour alone."""
    dashboard = open_dashboard(forced_colors="active")
    dashboard.all_closed()
    dashboard.report("auth-service", breaker(NAME, failure_count=1))
    background = "one => getComputedStyle(one).backgroundColor"
    for selector in (".lead", ".fuse i.lit"):
        shown = dashboard.row(NAME).locator(selector).first.evaluate(background)
        assert shown not in ("rgb(255, 255, 255)", "rgb(0, 0, 0)", "rgba(0, 0, 0, 0)"), selector
    key = "one => getComputedStyle(one, '::before').backgroundColor"
    keys = dashboard.page.locator(".key").evaluate_all(f"all => all.map({key})")
    assert len(set(keys)) == 4


@pytest.mark.parametrize("size", SIZES)
def test_axis_labels_are_below_their_lines(open_dashboard: OpenDashboard, size: tuple[int, int]) -> None:
    """They don't touch each other, and don't leave the page."""
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    dashboard.wide_letters()
    boxes = [one.bounding_box() for one in dashboard.page.locator(".ticks span").all()]
    plot = dashboard.row(NAME).locator(".plot").bounding_box()
    for box, share in zip(boxes[1:3], (1 / 3, 2 / 3), strict=True):
        assert box["x"] + box["width"] / 2 == pytest.approx(plot["x"] + plot["width"] * share, abs=1)
    assert all(a["x"] + a["width"] + 4 < b["x"] for a, b in pairwise(boxes))
    assert boxes[0]["x"] >= 0
    assert boxes[-1]["x"] + boxes[-1]["width"] <= size[0]


def test_plots_use_a_wide_screen(open_dashboard: OpenDashboard) -> None:
    """The bar at the top is as wide as the page below it."""
    dashboard = open_dashboard((2200, 900))
    dashboard.all_closed()
    assert dashboard.row(NAME).locator(".plot").bounding_box()["width"] > 900
    [top, main] = [dashboard.page.locator(one).bounding_box() for one in (".top", "main")]
    assert top["x"] == main["x"]
    assert top["width"] == main["width"]
