"""The recovery of a breaker in its row and its sheet, the possible actions, and links to more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE, TABLET
from tests.browser.fake_stream import NOON, POLICY, breaker, opened, order

OpenDashboard = Any
NAME = "auth-database"
HALF_OPEN = {"state": "HALF_OPEN", "since": NOON - 12, "outage_since": NOON - 310}


def signed_in(dashboard: Any, *breakers: dict[str, Any]) -> Any:
    """The sheet of NAME, for an admin."""
    dashboard.all_closed()
    dashboard.report("auth-service", *breakers)
    dashboard.answer([])
    dashboard.page.click("#sign")
    dashboard.sign_in()
    return dashboard.sheet(NAME)


# How it recovers.


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize(
    ("orders", "row", "sheet"),
    [
        ([], "stays so until it is reset", "it stays so until it is reset."),
        (
            [order("force_open", NAME, in_force=True, until=NOON + 600)],
            "stays so until 12:10:00, or a reset",
            "it stays so until 12:10:00, or until it is reset.",
        ),
    ],
)
def test_a_forced_open_breaker_does_not_recover_by_itself(
    open_dashboard: OpenDashboard, size: tuple[int, int], orders: list[Any], row: str, sheet: str
) -> None:
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    reason = "forced by operator: a new disk"
    dashboard.report("auth-service", breaker(NAME, state="FORCED_OPEN", reason=reason), orders=orders)
    wait = dashboard.row(NAME).locator(".wait")
    assert wait.is_visible()
    assert wait.inner_text() == row
    assert wait.evaluate("one => one.scrollWidth <= one.parentElement.clientWidth || innerWidth < 400")
    assert dashboard.row(NAME).locator(".fuse i").count() == 0
    text = dashboard.sheet(NAME).locator(".detail-state").inner_text()
    assert f"It won’t recover by itself: {sheet} Forced by operator: a new disk." in text


@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE])
def test_a_half_open_breaker_shows_its_probe_and_both_durations(
    open_dashboard: OpenDashboard, size: tuple[int, int]
) -> None:
    """How long it has been half-open, and how long out. Nothing is cut."""
    dashboard = open_dashboard(size)
    dashboard.all_closed()
    dashboard.wide_letters()
    dashboard.report("auth-service", breaker(NAME, **HALF_OPEN))
    row = dashboard.row(NAME)
    for selector, text in (
        (".since", "for 12 s"),
        (".why", "The next call is the probe"),
        (".wait", "out for 5 min 10 s"),
    ):
        part = row.locator(selector)
        assert part.is_visible()
        assert part.inner_text() == text
        assert part.evaluate(
            "one => one.scrollHeight <= one.clientHeight + 1 || getComputedStyle(one).display === 'inline'"
        )
    assert row.evaluate("one => one.scrollWidth <= innerWidth")
    sheet = dashboard.sheet(NAME).locator(".detail-state")
    assert sheet.inner_text() == (
        "Half-open for 12 s, since 11:59:48. Out for 5 min 10 s, since 11:54:50. The next call is the probe."
    )
    dashboard.report("auth-service", breaker(NAME, **HALF_OPEN, in_flight=1))
    assert row.locator(".why").inner_text() == "Probing: a call is on its way"
    dashboard.report("auth-service", breaker(NAME, **HALF_OPEN, policy={**POLICY, "successes_to_close": 3}))
    assert row.locator(".why").inner_text() == "The next call is a probe; 3 successes close it"


# Which actions are possible.


@pytest.mark.parametrize(
    ("state", "impossible"),
    [
        ({}, {"Reset": "It is closed, and has counted nothing"}),
        ({"failure_count": 1}, {}),
        ({"slow_count": 1}, {}),
        ({"state": "OPEN"}, {"Trip": "It is open already"}),
        (HALF_OPEN, {}),
        ({"state": "FORCED_OPEN"}, {"Force open": "It is forced open already"}),
        ({"state": "DISABLED"}, {"Disable": "It is disabled already"}),
        ({"state": "OBSERVING"}, {"Observe": "It is observing already"}),
    ],
)
def test_an_impossible_action_is_disabled_with_its_reason(
    open_dashboard: OpenDashboard, state: dict[str, Any], impossible: dict[str, str]
) -> None:
    sheet = signed_in(open_dashboard(), breaker(NAME, **state))
    buttons = sheet.locator(".acting button").all()
    labels = [one.inner_text() for one in buttons]
    assert labels == ["Reset", "Trip", "Force open", "Disable", "Observe", "Change policy"]
    found = {one.inner_text(): one.get_attribute("title") for one in buttons if one.is_disabled()}
    assert found == impossible


def test_buttons_follow_the_state_and_keep_the_focus(open_dashboard: OpenDashboard) -> None:
    """Pressing a disabled one opens no form, but shows the reason until the state changes."""
    dashboard = open_dashboard()
    sheet = signed_in(dashboard, opened(NAME, NOON - 9))
    reset = sheet.locator("button:text-is('Reset')")
    reset.focus()
    assert reset.is_enabled()
    dashboard.report("auth-service", breaker(NAME))
    assert reset.is_disabled()
    assert dashboard.focus() == "Reset"
    dashboard.page.keyboard.press("Enter")
    assert sheet.locator(".confirm").count() == 0
    assert sheet.locator(".note").inner_text() == "It is closed, and has counted nothing."
    dashboard.report("auth-service", opened(NAME, NOON))
    assert sheet.locator(".note").inner_text() == ""
    dashboard.page.keyboard.press("Enter")
    assert sheet.locator(".confirm").count() == 1


def test_a_reset_is_possible_while_another_instance_is_open(open_dashboard: OpenDashboard) -> None:
    """An order is for all instances."""
    dashboard = open_dashboard()
    sheet = signed_in(dashboard, breaker(NAME))
    assert sheet.locator("button:text-is('Reset')").is_disabled()
    other = {"state": "OPEN", "failure_count": 5, "since": NOON - 9, "reason": ""}
    instance = {"address": "10.0.0.2:8081", "workers": 1, "breakers": {NAME: other}}
    dashboard.report("auth-service", instances=[instance])
    assert sheet.locator("button:text-is('Reset')").is_enabled()


def test_no_action_is_possible_on_a_silent_process(open_dashboard: OpenDashboard) -> None:
    dashboard = open_dashboard()
    sheet = signed_in(dashboard, breaker(NAME))
    dashboard.report("auth-service", answers=False, gaps=[[NOON, NOON]])
    buttons = sheet.locator(".acting button")
    assert buttons.evaluate_all("all => new Set(all.map(one => one.title)).size") == 1
    assert buttons.first.get_attribute("title") == "auth-service doesn’t answer"
    assert all(one.is_disabled() for one in buttons.all())


def test_reloading_the_file_is_at_the_top_for_admins_alone(open_dashboard: OpenDashboard) -> None:
    """It isn't about one breaker."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    button = dashboard.page.locator("#reload")
    assert button.is_hidden()
    dashboard.answer({"api-gateway": []})
    dashboard.page.click("#sign")
    dashboard.sign_in()
    button.click()
    assert dashboard.focus() == "reason"
    dashboard.page.fill("#reason", "a new policy")
    with dashboard.page.expect_request("**/admin/breakers/reload") as sent:
        dashboard.page.click("#reloading button[type=submit]")
    assert sent.value.post_data_json == {"reason": "a new policy"}
    dashboard.page.locator("#reloading[open]").wait_for(state="detached")
    assert dashboard.focus() == "Reload file"
    dashboard.page.click("#sign")
    assert button.is_hidden()


# Links to more.


def test_a_failure_has_its_target_and_cause_and_the_number_of_calls(open_dashboard: OpenDashboard) -> None:
    """Of several within a second the last is shown."""
    dashboard = open_dashboard(PHONE)
    dashboard.all_closed()
    causes = [
        "GET /auth · http://127.0.0.1:8081: Connection refused",
        "GET /auth · http://127.0.0.1:8081: status 502",
    ]
    failures = [{"time": NOON - 9 + n, "count": 1 + 2 * n, "error": one} for n, one in enumerate(causes)]
    dashboard.report("api-gateway", breaker("auth-service-http", failures=failures))
    sheet = dashboard.sheet("auth-service-http")
    lines = [line.split("\n")[1:] for line in sheet.locator(".failures li").all_inner_texts()]
    assert lines == [[causes[1], "last of 3 calls"], [causes[0]]]
    assert sheet.evaluate("one => one.scrollWidth <= one.clientWidth")


def test_page_and_sheet_lead_to_logs_metrics_and_docs(open_dashboard: OpenDashboard) -> None:
    """By relative links, since OPERATIONS_PORT serves these paths too."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    links = dashboard.page.locator("footer a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links == ["/docs", "/metrics", "/health"]
    for name, owner in ((NAME, "auth-service"), ("auth-service-http", "api-gateway")):
        text = dashboard.sheet(name).inner_text()
        assert f"uv run just logs {owner}" in text
        assert f'service="{name}"' in text
        dashboard.page.keyboard.press("Escape")
