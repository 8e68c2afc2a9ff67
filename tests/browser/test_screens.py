"""Narrow and wide screens, fingers, and few colours: nothing breaks, nothing is lost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE, SIZES
from tests.browser.fake_stream import NOON, breaker, change

OpenDashboard = Any
NAME = "auth-database"


@pytest.mark.parametrize("size", [DESKTOP, (900, 900)])
def test_names_take_one_line(open_dashboard: OpenDashboard, size: tuple[int, int]) -> None:
    """And stay within their column; a state of two words takes one line in the list."""
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


def test_the_smallest_screen_keeps_names_whole(open_dashboard: OpenDashboard) -> None:
    """One line at the top, one line for a name."""
    dashboard = open_dashboard((320, 640))
    dashboard.all_closed()
    dashboard.wide_letters()
    dashboard.report("student-service", breaker("student-service-grpc", state="FORCED_OPEN"))
    bottoms = dashboard.page.locator(".top > *").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().bottom)"
    )
    assert max(bottoms) < 60
    assert dashboard.row("student-service-grpc").locator(".name").evaluate("one => one.clientHeight") < 30


def test_fingers_meet_enough(open_dashboard: OpenDashboard) -> None:
    """A name's whole block opens the sheet; a field is large enough that no phone zooms in."""
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


def test_few_colours_keep_their_meaning(open_dashboard: OpenDashboard) -> None:
    """Where the system forces its own, what speaks by colour alone keeps ours."""
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
def test_the_axis_is_where_its_lines_are(open_dashboard: OpenDashboard, size: tuple[int, int]) -> None:
    """Each label below its line, none touching the next, none beyond the page."""
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


def test_a_wide_screen_is_used(open_dashboard: OpenDashboard) -> None:
    """By the plots; the top stays above what it belongs to."""
    dashboard = open_dashboard((2200, 900))
    dashboard.all_closed()
    assert dashboard.row(NAME).locator(".plot").bounding_box()["width"] > 900
    [top, main] = [dashboard.page.locator(one).bounding_box() for one in (".top", "main")]
    assert (top["x"], top["width"]) == (main["x"], main["width"])
