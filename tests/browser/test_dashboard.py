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


def test_an_outage_is_seen_from_beginning_to_end(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """Open, counting down, half-open, closed: in a page that is never loaded again."""
    screen: Screen = open_screen()
    page = screen.page
    screen.says("#headline", "All seven breakers are closed.")
    screen.picture("healthy")
    page.evaluate("window.mark = 1")
    stack.run("stop", "auth-service")
    assert [stack.login().status_code for _ in range(6)] == [502] * 5 + [503]
    screen.state("auth-service-http", "OPEN", 2)
    screen.state("auth-database", "UNKNOWN", 3)
    screen.says("#headline", "auth-service-http is open.")
    screen.says("#subline", "1 call rejected")
    row = page.locator("article[data-name='auth-service-http']")
    assert "Max failures reached: ConnectError" in row.inner_text()
    assert "probe" in row.locator(".wait").inner_text()
    assert row.locator(".fuse i.lit").count() == 5
    assert [row.locator(".count").nth(n).inner_text() for n in (1, 2)] == ["5", "1"]
    assert page.title() == "1 open · Breakers"
    page.wait_for_timeout(400)  # colours change slowly
    assert hard_to_read(page) == {}
    screen.picture("outage")
    screen.state("auth-service-http", "HALF_OPEN", 70)
    screen.says("#headline", "auth-service-http is half-open.")
    screen.picture("half-open")
    stack.run("start", "auth-service")
    assert stack.login().status_code == 200
    screen.state("auth-service-http", "CLOSED", 2)
    screen.state("auth-database", "CLOSED", 3)
    screen.says("#headline", "All seven breakers are closed.")
    told = page.locator("#events li", has_text="auth-service-http").all_inner_texts()[:3]
    assert [line.split("\n")[-2:] for line in told] == [
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


def test_it_says_when_it_is_disconnected_and_comes_back(
    open_screen: OpenScreen, stack: EphemeralStack
) -> None:
    """The gateway goes and comes; nobody touches the page."""
    screen: Screen = open_screen()
    screen.says("#link-text", "Live")
    screen.page.evaluate("window.mark = 1")
    stack.run("stop", "api-gateway")
    screen.says("#link-text", "Disconnected since")
    screen.says("#headline", "The gateway can’t be heard.")
    screen.says("#subline", "breakers are closed.")
    assert screen.page.evaluate("document.documentElement.classList.contains('lost')")
    stack.run("start", "api-gateway")
    screen.says("#link-text", "Live")
    assert screen.page.evaluate("window.mark") == 1


def test_a_gateway_that_hangs_is_noticed(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """A connection that is open but says nothing counts as lost."""
    screen: Screen = open_screen()
    pid = stack.pid("api-gateway")
    os.kill(pid, signal.SIGSTOP)
    try:
        screen.says("#link-text", "Disconnected since")
    finally:
        os.kill(pid, signal.SIGCONT)
    screen.says("#link-text", "Live", 15)


def test_a_restart_is_seen_by_old_pages_and_fresh_ones(
    open_screen: OpenScreen, stack: EphemeralStack
) -> None:
    """The time a process was away stays unknown, what was before it stays, and its new start is told."""
    old: Screen = open_screen()
    name = "student-database"
    stack.client.post(f"/admin/breakers/{name}/trip", headers={"Authorization": f"Bearer {TOKEN}"})
    old.state(name, "OPEN")
    stack.run("stop", "student-service")
    old.state(name, "UNKNOWN")
    old.page.wait_for_timeout(3000)
    stack.run("start", "student-service")
    for screen in (old, open_screen()):
        screen.state(name, "CLOSED")
        rects = screen.page.locator(f"article[data-name='{name}'] rect")
        states = rects.evaluate_all("all => all.map(one => one.classList[1])")
        assert states == ["CLOSED", "OPEN", "UNKNOWN", "CLOSED"]
        told = screen.page.locator("#events li", has_text="student-service").all_inner_texts()
        assert [line.split("\n")[2] for line in told if "grpc" not in line] == ["started again"]


def test_an_admin_acts_after_confirming(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """A bad token is told so; an action asks and wants a reason; the log says who and why."""
    screen: Screen = open_screen()
    page = screen.page
    page.click("article[data-name='student-service-grpc'] .name")
    assert page.locator("#detail button", has_text="Force open").count() == 0
    page.click("#detail >> text=Sign in to act")
    page.fill("#token", "wrong")
    page.click("#signing button[type=submit]")
    screen.says("#signing .problem", "This token isn’t accepted.")
    page.fill("#token", TOKEN)
    page.click("#signing button[type=submit]")
    page.click("#detail button:has-text('Force open')")
    page.click("#detail .confirm button[type=submit]")  # no reason yet: nothing happens
    assert stack.states()["student-service-grpc"] == "CLOSED"
    page.fill("#reason", "school service moves house")
    screen.picture("confirm")
    page.click("#detail .confirm button[type=submit]")
    screen.state("student-service-grpc", "FORCED_OPEN", 3)
    screen.says("#detail .detail-state", "Forced by operator: school service moves house")
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage)")
    lines = [json.loads(line) for line in stack.log("student-service").splitlines() if '"admin"' in line]
    found = [(one["action"], one["who"], one["reason"]) for one in lines if "action" in one]
    assert found[-1] == ("force_open", "ADMIN_TOKEN", "school service moves house")
    page.click("#detail button:has-text('Reset')")
    page.fill("#reason", "it has moved")
    page.click("#detail .confirm button[type=submit]")
    screen.state("student-service-grpc", "CLOSED", 3)


def test_a_policy_is_changed_from_the_page(open_screen: OpenScreen, stack: EphemeralStack) -> None:
    """A bad value is refused with the field's name; a good one holds."""
    screen: Screen = open_screen()
    page = screen.page
    page.evaluate("token => sessionStorage.setItem('admin-token', token)", TOKEN)
    page.reload()
    page.click("article[data-name='auth-service-http'] .name")
    page.click("#detail button:has-text('Change policy')")
    page.fill("[name=max_failures]", "0")
    page.fill("#reason", "to see")
    page.click("#detail .confirm button[type=submit]")
    screen.says("#detail .problem", "max_failures")
    page.fill("[name=max_failures]", "4")
    page.click("#detail .confirm button[type=submit]")
    screen.says("article[data-name='auth-service-http'] .fuse-text", "0 of 4 in a row")


def test_it_can_be_used_by_keyboard(open_screen: OpenScreen) -> None:
    """Tab to the rows, arrows between them, Enter opens, Escape closes and gives the focus back."""
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
def test_it_fits_every_screen(open_screen: OpenScreen, size: tuple[int, int], scheme: str) -> None:
    """Nothing sticks out, and all seven are there, in the colours that the system has."""
    screen: Screen = open_screen(size, scheme, reduced_motion="reduce")
    page = screen.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("article.row").count() == 7
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(colour.removeprefix("rgb(").split(",")[0])
    assert (red > 200) == (scheme == "light")
    assert hard_to_read(page) == {}
    screen.picture(f"{scheme}-{size[0]}")


def test_several_workers_are_one_gateway(browser: Any) -> None:
    """Whichever of them draws a page, it shows the outage, how it began and how it ended."""
    with EphemeralStack(2, GATEWAY_WORKERS="2", ADMIN_TOKEN=TOKEN) as stack:
        stack.sign_up()
        pages = [browser.new_page() for _ in range(4)]
        for page in pages:
            page.goto(f"{stack.config.gateway}/dashboard")
            Screen(page, stack).state("auth-database", "CLOSED")
        stack.run("stop", "auth-service")
        opened = "auth-service-http"
        assert wait_for(lambda: fresh_login(stack) == 503, 10), "one of them has opened"
        for page in pages:
            Screen(page, stack).state(opened, "OPEN", 5)
        stack.run("start", "auth-service")
        assert wait_for(lambda: fresh_login(stack) == 200 and stack.states()[opened] == "CLOSED", 20)
        for page in pages:
            Screen(page, stack).state(opened, "CLOSED", 5)
            Screen(page, stack).says("#events li:first-child .became", "closed", 3)
            assert page.locator("#events li:last-child .became").inner_text() == "open"
            page.close()


def fresh_login(stack: EphemeralStack) -> int:
    """The status of a login over a connection of its own, which any worker may take."""
    stack.client.close()
    stack.client = httpx.Client(base_url=stack.config.gateway, timeout=15, trust_env=False)
    return stack.login().status_code


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_breaker_is_shown_in_full_on_a_phone(open_screen: OpenScreen, scheme: str) -> None:
    """The sheet takes the whole width, nothing sticks out of it, and its policy is in plain words."""
    page = open_screen(PHONE, scheme, has_touch=True, is_mobile=True, reduced_motion="reduce").page
    bottom = "parts => parts.map(one => one.getBoundingClientRect().bottom)"
    tops = page.locator(".top > *").evaluate_all(bottom)
    assert max(tops) < 60, "one line at the top"
    page.tap("article[data-name='auth-database'] .name")
    page.wait_for_timeout(300)
    box = page.locator("#detail").bounding_box()
    assert (box["x"], box["width"]) == (0, PHONE[0])
    assert page.locator("#detail").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert hard_to_read(page) == {}
    policy = page.locator("#detail .facts").nth(1).inner_text().split("\n")
    assert policy[policy.index("reset timeout") + 1] == "3 s"
    assert not {"backoff", "max queue"} & set(policy)


def test_without_scripts_it_says_what_it_needs(browser: Any, stack: EphemeralStack) -> None:
    """At the beginning of the page, and nothing that would need them."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{stack.config.gateway}/dashboard")
    hint = page.locator("main noscript")
    assert hint.inner_text() == "This page needs JavaScript. /health doesn’t."
    assert hint.bounding_box()["y"] < 100
    assert [page.locator(one).is_visible() for one in ("#sign", ".summary", ".board")] == [False] * 3
    context.close()


def test_colours_can_be_chosen_and_are_remembered(open_screen: OpenScreen) -> None:
    """Auto, light, dark; after a reload too."""
    page = open_screen().page
    for _ in range(2):
        page.click("#theme")
    page.reload()
    assert page.inner_text("#theme") == "Dark"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
