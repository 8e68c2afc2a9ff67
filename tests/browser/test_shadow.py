"""The text about a policy in shadow in the sheet of its breaker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.fake_stream import POLICY, breaker

OpenDashboard = Any
NAME = "auth-database"


def ends(**counts: int) -> dict[str, int]:
    return {**dict.fromkeys(("success", "failure", "ignored", "cancelled", "unseen"), 0), **counts}


def shadowed(policy: dict[str, Any], **shadow: Any) -> dict[str, Any]:
    """A breaker with a shadow that has done nothing yet; `shadow` replaces keys."""
    idle = {
        "state": "CLOSED",
        "opened": 0,
        "stopped": None,
        "calls": {"admitted": ends(), "rejected": ends()},
    }
    return breaker(NAME, policy={**POLICY, "shadow": policy}, shadow={**idle, **shadow})


ADAPTIVE = {"trip": {"kind": "Adaptive", "failures": 6, "blip": 0.4}}
BUSY = {
    "admitted": ends(success=9_000, failure=40, unseen=50),
    "rejected": ends(success=12, failure=327, ignored=1),
}


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_sheet_says_what_the_shadow_would_have_done(
    open_dashboard: OpenDashboard, size: tuple[int, int]
) -> None:
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    dashboard.report("auth-service", shadowed(ADAPTIVE, state="OPEN", opened=2, calls=BUSY))
    sheet = dashboard.sheet(NAME)
    assert sheet.locator(".in-shadow").inner_text() == (
        "Adaptive() beside it would have opened 2 times, rejected 340 calls, 12 of them good. "
        "It didn’t see how the 50 calls that the breaker rejected would have ended. It would be open now."
    )
    assert "trip Adaptive: failures 6, blip 0.4" in sheet.locator(".policy").inner_text()
    assert sheet.evaluate("one => one.scrollWidth <= one.clientWidth")
    if folder := os.environ.get("SCREENSHOTS"):
        dashboard.page.screenshot(path=str(Path(folder) / f"shadow-{size[0]}.png"))


@pytest.mark.parametrize(
    ("policy", "shadow", "sentence"),
    [
        (
            {"max_failures": 3},
            {"opened": 1, "calls": {"admitted": ends(), "rejected": ends(failure=1)}},
            "3 failures in a row beside it would have opened once, rejected 1 call, 0 of them good.",
        ),
        (
            {"reset_timeout": 5.0},
            {},
            "The policy in shadow beside it would have stayed closed.",
        ),
        (ADAPTIVE, {"stopped": "KeyError: 3"}, "Adaptive() beside it has stopped: KeyError: 3"),
    ],
)
def test_its_words(
    open_dashboard: OpenDashboard, policy: dict[str, Any], shadow: dict[str, Any], sentence: str
) -> None:
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report("auth-service", shadowed(policy, **shadow))
    assert dashboard.sheet(NAME).locator(".in-shadow").inner_text() == sentence


def test_without_a_shadow_nothing_is_said(open_dashboard: OpenDashboard) -> None:
    dashboard = open_dashboard()
    dashboard.all_closed()
    assert dashboard.sheet(NAME).locator(".in-shadow").is_hidden()
