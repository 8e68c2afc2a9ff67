"""An admin's actions in the sheet, with fake responses of the admin API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.fake_stream import NOON, POLICY, TOKEN, DashboardPage, breaker

OpenDashboard = Any
NAME = "auth-database"


@pytest.fixture
def dashboard(open_dashboard: OpenDashboard) -> DashboardPage:
    """A page with all breakers closed, a signed-in admin and one open sheet."""
    one: DashboardPage = open_dashboard()
    one.all_closed()
    one.report("auth-service", breaker(NAME, failure_count=1))
    one.answer([])
    one.page.click("#sign")
    one.sign_in()
    one.sheet(NAME)
    return one


def act(dashboard: DashboardPage, label: str, reason: str = "to see") -> None:
    """Choose an action, enter a reason, and confirm."""
    dashboard.page.click(f"#detail .acting button:text-is('{label}')")
    dashboard.page.fill("#reason", reason)
    dashboard.page.click("#detail .confirm button[type=submit]")


def problem(dashboard: DashboardPage) -> str:
    """The error message of the form."""
    shown = dashboard.page.locator("#detail .problem:not(:empty)")
    shown.wait_for(timeout=5000)
    message: str = shown.inner_text()
    return message


def commands_sent(dashboard: DashboardPage) -> list[Any]:
    """A list to which the body of each command is added from now on."""
    sent: list[Any] = []
    dashboard.page.on("request", lambda one: "/admin/" in one.url and sent.append(one.post_data_json))
    return sent


def test_after_an_expired_token_the_form_keeps_its_reason(dashboard: DashboardPage) -> None:
    """Signing in again leads back to the form."""
    dashboard.answer(status=401)
    act(dashboard, "Reset", "a long story")
    assert problem(dashboard) == "This token isn’t accepted any more. Sign in again, then repeat."
    assert dashboard.page.input_value("#reason") == "a long story"
    assert dashboard.page.inner_text("#sign") == "Sign in to act"
    dashboard.answer([])
    dashboard.page.click("#detail .confirm button:text-is('Sign in')")
    dashboard.sign_in()
    assert dashboard.page.input_value("#reason") == "a long story"
    assert dashboard.page.locator("#detail .problem").inner_text() == ""
    assert dashboard.focus() == "Reset"
    dashboard.page.keyboard.press("Enter")
    dashboard.page.locator("#detail .confirm").wait_for(state="detached")


def test_a_double_click_sends_one_command(dashboard: DashboardPage) -> None:
    """While it runs, the form is busy and can't be cancelled."""
    waiting: list[Any] = []
    dashboard.page.unroute_all()
    dashboard.page.route("**/admin/breakers/**", lambda route: waiting.append(route))
    dashboard.page.click("#detail .acting button:text-is('Reset')")
    dashboard.page.fill("#reason", "twice")
    dashboard.page.dblclick("#detail .confirm button[type=submit]")
    form = dashboard.page.locator("#detail .confirm")
    assert form.get_attribute("aria-busy") == "true"
    assert form.locator("button[type=submit]").inner_text() == "Reset…"
    assert form.locator("button:visible").evaluate_all("all => all.every(one => one.disabled)")
    dashboard.page.keyboard.press("Escape")
    assert form.count() == 1
    dashboard.page.wait_for_timeout(300)
    assert len(waiting) == 1
    message = "auth-service doesn't answer; it may still carry this out"
    waiting[0].fulfill(status=502, json={"message": message})
    assert problem(dashboard) == "auth-service doesn’t answer; it may still carry this out."
    assert form.locator("button[type=submit]").inner_text() == "Reset"
    assert dashboard.focus() == "Reset"


def test_a_partly_failed_reload_names_the_process(dashboard: DashboardPage) -> None:
    """The status of the response is 200."""
    dashboard.answer({"api-gateway": [], "student-service": {"error": "student-service doesn't answer"}})
    dashboard.page.keyboard.press("Escape")
    dashboard.page.click("#reload")
    dashboard.page.fill("#reason", "to see")
    dashboard.page.click("#reloading button[type=submit]")
    shown = dashboard.page.locator("#reloading .problem:not(:empty)")
    shown.wait_for(timeout=5000)
    assert shown.inner_text() == "All have read it but student-service: student-service doesn’t answer."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"applied_by": ["a"], "not_yet": ["b", "c"]},
            "Done, but not yet by b, c: it follows when it runs again.",
        ),
        (
            {"applied_by": ["a"], "not_yet": [], "failed": {"b": "no such breaker"}},
            "Done, but b can’t: no such breaker.",
        ),
        ({"shared": False, "note": "The store doesn't answer"}, "Done here only. The store doesn’t answer."),
    ],
)
def test_instances_that_have_not_applied_a_command_are_named(
    dashboard: DashboardPage, answer: dict[str, Any], said: str
) -> None:
    """They follow later, without another command."""
    dashboard.answer({"name": "auth-database", **answer})
    act(dashboard, "Reset")
    assert problem(dashboard) == said


def test_a_hold_may_have_a_duration_and_the_sheet_shows_its_author(dashboard: DashboardPage) -> None:
    """A trip has none."""
    ordered = {"id": "1", "action": "force_open", "who": "ADMIN_TOKEN", "reason": "a new disk", "time": NOON}
    dashboard.answer({"commands": [{**ordered, "until": NOON + 600}], "in_force": [{"id": "1"}]})
    sent = commands_sent(dashboard)
    dashboard.page.click("#detail .acting button:text-is('Trip')")
    assert dashboard.page.locator("#detail [name=for]").count() == 0
    dashboard.page.click("#detail .confirm button:text-is('Cancel')")
    dashboard.page.click("#detail .acting button:text-is('Force open')")
    dashboard.page.select_option("#detail [name=for]", label="10 minutes")
    dashboard.page.fill("#reason", "a new disk")
    dashboard.page.click("#detail .confirm button[type=submit]")
    dashboard.page.locator("#detail .confirm").wait_for(state="detached")
    assert sent == [{"for": 600, "reason": "a new disk"}]
    shown = dashboard.page.inner_text("#detail .commands li")
    assert "force open" in shown
    assert "by ADMIN_TOKEN, a new disk, until" in shown
    assert shown.endswith("in force")


def test_only_changed_policy_fields_are_sent(dashboard: DashboardPage) -> None:
    """So that another admin's changes of other fields are kept."""
    sent = commands_sent(dashboard)
    dashboard.page.click("#detail .acting button:text-is('Change policy')")
    dashboard.page.fill("#reason", "why not")
    dashboard.page.click("#detail .confirm button[type=submit]")
    assert problem(dashboard) == "Nothing is different from what it was."
    dashboard.page.fill("[name=reset_timeout]", "20")
    dashboard.page.click("#detail .confirm button[type=submit]")
    dashboard.page.locator("#detail .confirm").wait_for(state="detached")
    assert sent == [{"reset_timeout": 20, "reason": "why not"}]


def test_the_policy_form_has_only_fields_with_an_effect(dashboard: DashboardPage) -> None:
    """No max_failures with another trip strategy."""
    trip = {"kind": "ConsecutiveFailures", "n": 4}
    dashboard.report("auth-service", breaker(NAME, policy={**POLICY, "trip": trip}))
    dashboard.page.click("#detail .acting button:text-is('Change policy')")
    assert dashboard.page.locator("#detail [type=number]").evaluate_all(
        "all => all.map(one => one.name)"
    ) == ["reset_timeout"]


def test_the_policy_of_an_unknown_breaker_cannot_be_changed(open_dashboard: OpenDashboard) -> None:
    """Until its process answers."""
    dashboard = open_dashboard()
    dashboard.hello()
    dashboard.report("student-service", answers=False, starts=[], gaps=[[NOON, NOON]])
    dashboard.answer([])
    dashboard.page.click("#sign")
    dashboard.sign_in()
    sheet = dashboard.sheet("student-database")
    assert sheet.locator(".detail-state").inner_text() == "Unknown. student-service doesn’t answer."
    change = sheet.locator("button", has_text="Change policy")
    assert change.is_hidden()
    dashboard.report("student-service", breaker("student-database"))
    assert change.is_visible()


def test_the_focus_returns_to_the_action(dashboard: DashboardPage) -> None:
    """After Cancel, after Escape (the sheet stays open), and after the action."""
    dashboard.page.click("#detail .acting button:text-is('Observe')")
    assert dashboard.focus() == "reason"
    dashboard.page.click("#detail .confirm button:text-is('Cancel')")
    assert dashboard.focus() == "Observe"
    dashboard.page.keyboard.press("Enter")
    dashboard.page.keyboard.press("Escape")
    assert dashboard.focus() == "Observe"
    act(dashboard, "Disable")
    dashboard.page.locator("#detail .confirm").wait_for(state="detached")
    assert dashboard.focus() == "Disable"
    dashboard.page.keyboard.press("Escape")
    assert dashboard.page.locator("#detail[open]").count() == 0


def test_after_signing_in_from_the_sheet_the_first_action_has_the_focus(
    open_dashboard: OpenDashboard,
) -> None:
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.answer([])
    dashboard.sheet(NAME).locator("text=Sign in to act").click()
    dashboard.sign_in()
    assert dashboard.focus() == "Trip"


def test_a_reason_of_spaces_sends_nothing(dashboard: DashboardPage) -> None:
    sent = commands_sent(dashboard)
    act(dashboard, "Reset", "   ")
    dashboard.page.wait_for_timeout(200)
    assert sent == []
    assert dashboard.page.locator("#reason:invalid").count() == 1


def test_a_token_with_non_ascii_characters_is_refused(open_dashboard: OpenDashboard) -> None:
    """No header can contain it. The message isn't that the gateway can't be reached."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.page.click("#sign")
    dashboard.page.fill("#token", f"{TOKEN}…")
    dashboard.page.click("#signing button[type=submit]")
    dashboard.page.locator("#signing .problem:not(:empty)").wait_for(timeout=3000)
    assert dashboard.page.inner_text("#signing .problem") == "This token isn’t accepted."


def test_only_a_click_on_the_backdrop_closes_the_sheet(dashboard: DashboardPage) -> None:
    """Not a drag that ends there, as in selecting text."""
    box = dashboard.page.locator("#detail-name").bounding_box()
    mouse = dashboard.page.mouse
    mouse.move(box["x"] + 50, box["y"] + 10)
    mouse.down()
    mouse.move(100, box["y"] + 10)
    mouse.up()
    assert dashboard.page.locator("#detail[open]").count() == 1
    # The sheet extends below its last line.
    mouse.click(box["x"] + 50, 890)
    assert dashboard.page.locator("#detail[open]").count() == 1
    mouse.click(100, box["y"] + 10)
    assert dashboard.page.locator("#detail[open]").count() == 0
