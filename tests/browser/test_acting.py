"""What an admin does in the sheet, and what becomes of it: the admin API's answers are the test's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.fed import NOON, POLICY, TOKEN, Fed, breaker

Feed = Any
NAME = "auth-database"


@pytest.fixture
def fed(feed: Feed) -> Fed:
    """A page on which all is closed and an admin is signed in, with one sheet open."""
    one: Fed = feed()
    one.all_closed()
    one.answer([])
    one.page.click("#sign")
    one.sign_in()
    one.sheet(NAME)
    return one


def act(fed: Fed, label: str, reason: str = "to see") -> None:
    """Choose an action, say why, and confirm."""
    fed.page.click(f"#detail .acting button:text-is('{label}')")
    fed.page.fill("#reason", reason)
    fed.page.click("#detail .confirm button[type=submit]")


def problem(fed: Fed) -> str:
    """What the form says is wrong."""
    shown = fed.page.locator("#detail .problem:not(:empty)")
    shown.wait_for(timeout=5000)
    said: str = shown.inner_text()
    return said


def watch(fed: Fed) -> list[Any]:
    """The bodies of the orders that are sent from now on."""
    sent: list[Any] = []
    fed.page.on("request", lambda one: "/admin/" in one.url and sent.append(one.post_data_json))
    return sent


def test_a_token_that_expires_costs_no_words(fed: Fed) -> None:
    """The form stays with its reason; signing in again leads back to it."""
    fed.answer(status=401)
    act(fed, "Reset", "a long story")
    assert problem(fed) == "This token isn’t accepted any more. Sign in again, then repeat."
    assert fed.page.input_value("#reason") == "a long story"
    assert fed.page.inner_text("#sign") == "Sign in to act"
    fed.answer([])
    fed.page.click("#detail .confirm button:text-is('Sign in')")
    fed.sign_in()
    assert fed.page.input_value("#reason") == "a long story"
    assert fed.page.locator("#detail .problem").inner_text() == ""
    assert fed.focus() == "Reset"
    fed.page.keyboard.press("Enter")
    fed.page.locator("#detail .confirm").wait_for(state="detached")


def test_an_order_is_sent_once(fed: Fed) -> None:
    """Twice pressed is once ordered; while it runs that is shown, and nothing can be called back."""
    waiting: list[Any] = []
    fed.page.unroute_all()
    fed.page.route("**/admin/breakers/**", lambda route: waiting.append(route))
    fed.page.click("#detail .acting button:text-is('Reset')")
    fed.page.fill("#reason", "twice")
    fed.page.dblclick("#detail .confirm button[type=submit]")
    form = fed.page.locator("#detail .confirm")
    assert form.get_attribute("aria-busy") == "true"
    assert form.locator("button[type=submit]").inner_text() == "Reset…"
    assert form.locator("button:visible").evaluate_all("all => all.every(one => one.disabled)")
    fed.page.keyboard.press("Escape")
    assert form.count() == 1
    fed.page.wait_for_timeout(300)
    assert len(waiting) == 1
    told = "auth-service doesn't answer; it may still carry this out"
    waiting[0].fulfill(status=502, json={"message": told})
    assert problem(fed) == "auth-service doesn’t answer; it may still carry this out."
    assert form.locator("button[type=submit]").inner_text() == "Reset"
    assert fed.focus() == "Reset"


def test_a_reload_that_fails_somewhere_names_it(fed: Fed) -> None:
    """Its answer is a success all the same."""
    fed.answer({"api-gateway": [], "student-service": {"error": "student-service doesn't answer"}})
    act(fed, "Reload file")
    assert problem(fed) == "All have read it but student-service: student-service doesn’t answer."


def test_workers_that_have_not_followed_are_named(fed: Fed) -> None:
    """The others have, and nobody has to order it again."""
    fed.answer({"name": "auth-database", "workers_behind": [1]})
    act(fed, "Reset")
    assert problem(fed) == "Done, but not yet by worker 1: it follows when it runs again."


def test_only_what_was_changed_is_sent(fed: Fed) -> None:
    """So that what a colleague has changed meanwhile stays."""
    sent = watch(fed)
    fed.page.click("#detail .acting button:text-is('Change policy')")
    fed.page.fill("#reason", "why not")
    fed.page.click("#detail .confirm button[type=submit]")
    assert problem(fed) == "Nothing is different from what it was."
    fed.page.fill("[name=reset_timeout]", "20")
    fed.page.click("#detail .confirm button[type=submit]")
    fed.page.locator("#detail .confirm").wait_for(state="detached")
    assert sent == [{"reset_timeout": 20, "reason": "why not"}]


def test_a_policy_offers_what_has_an_effect(fed: Fed) -> None:
    """No max_failures beside a strategy of its own; nothing of a breaker that was never seen."""
    trip = {"kind": "ConsecutiveFailures", "n": 4}
    fed.report("auth-service", breaker(NAME, policy={**POLICY, "trip": trip}))
    fed.page.click("#detail .acting button:text-is('Change policy')")
    assert fed.page.locator("#detail [type=number]").evaluate_all("all => all.map(one => one.name)") == [
        "reset_timeout"
    ]


def test_a_breaker_never_seen_has_no_policy_to_change(feed: Feed) -> None:
    """Until its process answers; and its sentence reads well."""
    fed = feed()
    fed.hello()
    fed.report("student-service", answers=False, starts=[], gaps=[[NOON, NOON]])
    fed.answer([])
    fed.page.click("#sign")
    fed.sign_in()
    sheet = fed.sheet("student-database")
    assert sheet.locator(".detail-state").inner_text() == "Unknown. student-service doesn’t answer."
    change = sheet.locator("button", has_text="Change policy")
    assert change.is_hidden()
    fed.report("student-service", breaker("student-database"))
    assert change.is_visible()


def test_the_focus_goes_back_where_it_came_from(fed: Fed) -> None:
    """After Cancel, after Escape, which leaves the sheet open, and after the action."""
    fed.page.click("#detail .acting button:text-is('Observe')")
    assert fed.focus() == "reason"
    fed.page.click("#detail .confirm button:text-is('Cancel')")
    assert fed.focus() == "Observe"
    fed.page.keyboard.press("Enter")
    fed.page.keyboard.press("Escape")
    assert fed.focus() == "Observe"
    act(fed, "Disable")
    fed.page.locator("#detail .confirm").wait_for(state="detached")
    assert fed.focus() == "Disable"
    fed.page.keyboard.press("Escape")
    assert fed.page.locator("#detail[open]").count() == 0


def test_signing_in_from_the_sheet_leads_to_the_actions(feed: Feed) -> None:
    """The first has the focus."""
    fed = feed()
    fed.all_closed()
    fed.answer([])
    fed.sheet(NAME).locator("text=Sign in to act").click()
    fed.sign_in()
    assert fed.focus() == "Trip"


def test_a_reason_of_spaces_is_none(fed: Fed) -> None:
    """Nothing is sent."""
    sent = watch(fed)
    act(fed, "Reset", "   ")
    fed.page.wait_for_timeout(200)
    assert sent == []
    assert fed.page.locator("#reason:invalid").count() == 1


def test_a_token_that_no_header_can_carry_is_refused(feed: Feed) -> None:
    """It isn't the gateway that can't be reached."""
    fed = feed()
    fed.all_closed()
    fed.page.click("#sign")
    fed.page.fill("#token", f"{TOKEN}…")
    fed.page.click("#signing button[type=submit]")
    fed.page.locator("#signing .problem:not(:empty)").wait_for(timeout=3000)
    assert fed.page.inner_text("#signing .problem") == "This token isn’t accepted."


def test_only_a_click_on_the_backdrop_closes(fed: Fed) -> None:
    """Not a drag that ends there, as of one who selects a text."""
    box = fed.page.locator("#detail-name").bounding_box()
    mouse = fed.page.mouse
    mouse.move(box["x"] + 50, box["y"] + 10)
    mouse.down()
    mouse.move(100, box["y"] + 10)
    mouse.up()
    assert fed.page.locator("#detail[open]").count() == 1
    # Below the last line of a short sheet there is still sheet.
    mouse.click(box["x"] + 50, 890)
    assert fed.page.locator("#detail[open]").count() == 1
    mouse.click(100, box["y"] + 10)
    assert fed.page.locator("#detail[open]").count() == 0
