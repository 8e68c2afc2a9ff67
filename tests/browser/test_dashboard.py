"""The dashboard in a real Chromium, on the real stack."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx
import pytest

from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from tests.browser.conftest import PHONE, SIZES, TOKEN, Screen
from tests.browser.contrast import hard_to_read

OpenScreen = Any


@pytest.fixture(autouse=True)
def _mended(stack: EphemeralStack) -> None:
    stack.run("up")
    stack.client.post("/admin/breakers/auth-service-http/reset", headers={"Authorization": f"Bearer {TOKEN}"})
    assert wait_for(lambda: stack.login().status_code == 200, 10)


def test_an_open_page_shows_a_whole_outage(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """Open, half-open, closed: without a reload of the page."""
    screen: Screen = open_screen()
    page = screen.page
    screen.wait_for_text("#headline", "All seven breakers are closed.")
    screen.picture("healthy")
    page.evaluate("window.mark = 1")
    stack.run("stop", "auth-service")
    assert [stack.login().status_code for _ in range(6)] == [502] * 5 + [503]
    screen.wait_for_state("auth-service-http", "OPEN", 2)
    screen.wait_for_state("auth-database", "UNKNOWN", 3)
    screen.wait_for_text("#headline", "auth-service-http is open.")
    screen.wait_for_text("#subline", "1 call rejected")
    row = page.locator("article[data-name='auth-service-http']")
    assert "Max failures reached: POST /auth · http://127.0.0.1:" in row.inner_text()
    assert "probe" in row.locator(".wait").inner_text()
    assert row.locator(".fuse i.lit").count() == 5
    assert [row.locator(".count").nth(n).inner_text() for n in (1, 2)] == ["5", "1"]
    assert page.title() == "1 open · Breakers"
    page.wait_for_timeout(400)  # until the transitions of colours have ended
    assert hard_to_read(page) == {}
    screen.picture("outage")
    screen.wait_for_state("auth-service-http", "HALF_OPEN", 70)
    screen.wait_for_text("#headline", "auth-service-http is half-open.")
    screen.picture("half-open")
    stack.run("start", "auth-service")
    assert stack.login().status_code == 200
    screen.wait_for_state("auth-service-http", "CLOSED", 2)
    screen.wait_for_state("auth-database", "CLOSED", 3)
    screen.wait_for_text("#headline", "All seven breakers are closed.")
    events = page.locator("#events li", has_text="auth-service-http").all_inner_texts()[:3]
    assert [line.split("\n")[-2:] for line in events] == [
        ["closed", "recovery successful"],
        ["half-open", "attempting recovery"],
        ["open", "max failures reached"],
    ]
    states = page.locator("article[data-name='auth-service-http'] rect").evaluate_all(
        "rects => rects.map(rect => rect.classList[1])"
    )
    assert states[-4:] == ["CLOSED", "OPEN", "HALF_OPEN", "CLOSED"]
    assert page.evaluate("window.mark") == 1
    screen.picture("recovered")


def test_the_page_reconnects_after_a_restart_of_the_gateway(
    open_screen: OpenScreen, stack: EphemeralStack
) -> None:
    """It shows the lost connection meanwhile, and isn't reloaded."""
    screen: Screen = open_screen()
    screen.wait_for_text("#link-text", "Live")
    screen.page.evaluate("window.mark = 1")
    stack.run("stop", "api-gateway")
    screen.wait_for_text("#link-text", "Disconnected since")
    screen.wait_for_text("#headline", "No connection to the gateway.")
    screen.wait_for_text("#subline", "breakers are closed.")
    assert screen.page.evaluate("document.documentElement.classList.contains('lost')")
    stack.run("start", "api-gateway")
    screen.wait_for_text("#link-text", "Live")
    assert screen.page.evaluate("window.mark") == 1


def test_a_hanging_gateway_counts_as_a_lost_connection(
    open_screen: OpenScreen, stack: EphemeralStack
) -> None:
    """Its connection stays open, but no events come."""
    screen: Screen = open_screen()
    pid = stack.pid("api-gateway")
    os.kill(pid, signal.SIGSTOP)
    try:
        screen.wait_for_text("#link-text", "Disconnected since")
    finally:
        os.kill(pid, signal.SIGCONT)
    screen.wait_for_text("#link-text", "Live", 15)


def test_old_and_new_pages_show_a_restart(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """The absence is unknown, the states before it stay, and the list has "started again"."""
    old: Screen = open_screen()
    name = "student-database"
    # With Valkey, the process that starts again would adopt the shared opening.
    stack.run("stop", "valkey")
    stack.client.post(f"/admin/breakers/{name}/trip", headers={"Authorization": f"Bearer {TOKEN}"})
    old.wait_for_state(name, "OPEN")
    stack.run("stop", "student-service")
    old.wait_for_state(name, "UNKNOWN")
    old.page.wait_for_timeout(3000)
    stack.run("start", "student-service")
    for screen in (old, open_screen()):
        screen.wait_for_state(name, "CLOSED")
        rects = screen.page.locator(f"article[data-name='{name}'] rect")
        states = rects.evaluate_all("all => all.map(one => one.classList[1])")
        assert states == ["CLOSED", "OPEN", "UNKNOWN", "CLOSED"]
        events = screen.page.locator("#events li", has_text="student-service").all_inner_texts()
        assert [line.split("\n")[2] for line in events if "grpc" not in line] == ["started again"]
    stack.run("start", "valkey")


def test_an_admin_forces_a_breaker_open_and_resets_it(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """A wrong token is refused, an action needs a reason, and the log has the admin and the reason."""
    screen: Screen = open_screen()
    page = screen.page
    page.click("article[data-name='student-service-grpc'] .name")
    assert page.locator("#detail button", has_text="Force open").count() == 0
    page.click("#detail >> text=Sign in to act")
    page.fill("#token", "wrong")
    page.click("#signing button[type=submit]")
    screen.wait_for_text("#signing .problem", "This token isn’t accepted.")
    page.fill("#token", TOKEN)
    page.click("#signing button[type=submit]")
    page.click("#detail button:has-text('Force open')")
    page.click("#detail .confirm button[type=submit]")  # without a reason: nothing is sent
    assert wait_for(lambda: stack.states()["student-service-grpc"] == "CLOSED", 2)
    page.fill("#reason", "school service moves house")
    screen.picture("confirm")
    page.click("#detail .confirm button[type=submit]")
    screen.wait_for_state("student-service-grpc", "FORCED_OPEN", 3)
    screen.wait_for_text("#detail .detail-state", "Forced by operator: school service moves house")
    screen.wait_for_text("#events .reason", "forced by ADMIN_TOKEN: school service moves house")
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage)")
    lines = [json.loads(line) for line in stack.log("student-service").splitlines() if '"admin"' in line]
    found = [(one["action"], one["who"], one["reason"]) for one in lines if "action" in one]
    assert found[-1] == ("force_open", "ADMIN_TOKEN", "school service moves house")
    page.click("#detail button:has-text('Reset')")
    page.fill("#reason", "it has moved")
    page.click("#detail .confirm button[type=submit]")
    screen.wait_for_state("student-service-grpc", "CLOSED", 3)


def test_an_admin_changes_a_policy(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """An invalid value is refused with the field's name; a valid one takes effect, until a reload.

    The list "What happened" has both orders, and their operator for admins alone.
    """
    screen: Screen = open_screen()
    page = screen.page
    page.evaluate("token => sessionStorage.setItem('admin-token', token)", TOKEN)
    page.reload()
    page.click("article[data-name='auth-service-http'] .name")
    page.click("#detail button:has-text('Change policy')")
    page.fill("[name=max_failures]", "0")
    page.fill("#reason", "to see")
    page.click("#detail .confirm button[type=submit]")
    screen.wait_for_text("#detail .problem", "max_failures")
    page.fill("[name=max_failures]", "4")
    page.click("#detail .confirm button[type=submit]")
    screen.wait_for_text("article[data-name='auth-service-http'] .fuse-text", "0 of 4 in a row")
    screen.wait_for_text("#events .reason", "max failures 4, by ADMIN_TOKEN: to see")
    page.keyboard.press("Escape")
    page.click("#reload")
    page.fill("#reason", "seen")
    page.click("#reloading button[type=submit]")
    screen.wait_for_text("article[data-name='auth-service-http'] .fuse-text", "0 of 5 in a row")
    changed = "again by ADMIN_TOKEN: seen; changed: auth-service-http"
    screen.wait_for_text("#events .reason", changed)
    viewer: Screen = open_screen()
    viewer.wait_for_text("#events .reason", changed.replace("ADMIN_TOKEN", "an operator"))
    viewer.wait_for_text("#events .reason", "max failures 4, by an operator: to see")
    assert "ADMIN_TOKEN" not in viewer.page.content()


def test_the_rows_can_be_used_by_keyboard(open_screen: OpenScreen) -> None:
    """Tab reaches the rows, arrows move, Enter opens the sheet, Escape closes it and returns the focus."""
    page = open_screen().page
    while page.evaluate("document.activeElement.className") != "name":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#detail[open] h2").inner_text() == "school-service-http"
    page.keyboard.press("Escape")
    assert page.locator("#detail[open]").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "school-service-http"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_every_screen(open_screen: OpenScreen, size: tuple[int, int], scheme: str) -> None:
    """It has all seven breakers, no horizontal scrolling, and the system's colour scheme."""
    screen: Screen = open_screen(size, scheme, reduced_motion="reduce")
    page = screen.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("article.row").count() == 7
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(colour.removeprefix("rgb(").split(",")[0])
    assert (red > 200) == (scheme == "light")
    assert hard_to_read(page) == {}
    screen.picture(f"{scheme}-{size[0]}")


@pytest.mark.resilience
def test_pages_of_different_workers_show_the_same_outage(browser: Any) -> None:
    """With its opening and its recovery."""
    with EphemeralStack(6, GATEWAY_WORKERS="2", ADMIN_TOKEN=TOKEN) as stack:
        stack.sign_up()
        pages = [browser.new_page() for _ in range(4)]
        for page in pages:
            page.goto(f"{stack.config.gateway}/dashboard")
            Screen(page, stack).wait_for_state("auth-database", "CLOSED")
        stack.run("stop", "auth-service")
        opened = "auth-service-http"
        assert wait_for(lambda: fresh_login(stack) == 503, 10), "a worker's breaker has opened"
        for page in pages:
            Screen(page, stack).wait_for_state(opened, "OPEN", 5)
        stack.run("start", "auth-service")
        assert wait_for(lambda: fresh_login(stack) == 200 and stack.states()[opened] == "CLOSED", 20)
        for page in pages:
            Screen(page, stack).wait_for_state(opened, "CLOSED", 5)
            Screen(page, stack).wait_for_text("#events li:first-child .became", "closed", 3)
            assert page.locator("#events li:last-child .became").inner_text() == "open"
            page.close()


def fresh_login(stack: EphemeralStack) -> int:
    """The status of a login on a new connection, which any worker may accept."""
    stack.client.close()
    stack.client = httpx.Client(base_url=stack.config.gateway, timeout=15, trust_env=False)
    return stack.login().status_code


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sheet_fits_a_phone(open_screen: OpenScreen, scheme: str) -> None:
    """It takes the whole width without horizontal scrolling, and shows the policy in words."""
    page = open_screen(PHONE, scheme, has_touch=True, is_mobile=True, reduced_motion="reduce").page
    bottom = "parts => parts.map(one => one.getBoundingClientRect().bottom)"
    tops = page.locator(".top > *").evaluate_all(bottom)
    assert max(tops) < 60, "one line at the top"
    page.tap("article[data-name='auth-database'] .name")
    page.wait_for_timeout(300)
    box = page.locator("#detail").bounding_box()
    assert box["x"] == 0
    assert box["width"] == PHONE[0]
    assert page.locator("#detail").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert hard_to_read(page) == {}
    policy = page.locator("#detail .facts").nth(1).inner_text().split("\n")
    assert policy[policy.index("reset timeout") + 1] == "3 s"
    assert not {"backoff", "max queue"} & set(policy)


def test_without_javascript_the_page_says_so(browser: Any, stack: EphemeralStack) -> None:
    """At its beginning, and without the parts that need JavaScript."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stack.config.gateway}/dashboard")
    hint = page.locator("main noscript")
    assert hint.inner_text() == "This page needs JavaScript. /health doesn’t."
    assert hint.bounding_box()["y"] < 100
    assert [page.locator(one).is_visible() for one in ("#sign", ".summary", ".board")] == [False] * 3
    context.close()


def test_the_chosen_colour_scheme_survives_a_reload(open_screen: OpenScreen) -> None:
    """Auto, light or dark."""
    page = open_screen().page
    for _ in range(2):
        page.click("#theme")
    page.reload()
    assert page.inner_text("#theme") == "Dark"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
