"""The API pages in a real Chromium: all calls of the three services, and no requests to other hosts."""

from __future__ import annotations

from typing import Any

import httpx

from deploy.demo.ephemeral_stack import EphemeralStack, wait_for


def paths(stack: EphemeralStack) -> set[str]:
    """The paths in the merged document."""
    return set(httpx.get(f"{stack.config.gateway}/docs/openapi.json").json()["paths"])


def test_the_api_page_shows_the_services_calls_without_other_hosts(
    browser: Any, stack: EphemeralStack
) -> None:
    """Its assets are the gateway's own."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    elsewhere: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    # Chromium reports violations of the page's security policy there.
    page.on("console", lambda message: problems.append(message.text))
    try:
        # If a service wasn't ready, the gateway fetches its document again two seconds later.
        assert wait_for(lambda: {"/auth/login", "/schools", "/students"} <= paths(stack), 5)
        page.goto(f"{stack.config.gateway}/")
        page.wait_for_selector(".opblock")
        shown = {
            (
                block.query_selector(".opblock-summary-method").inner_text(),
                path.inner_text().replace("\u200b", ""),
            )
            for block in page.query_selector_all(".opblock")
            if (path := block.query_selector(".opblock-summary-path")) is not None
        }
    finally:
        page.close()
    assert {("POST", "/auth/login"), ("GET", "/schools"), ("POST", "/students")} <= shown
    assert {("GET", "/health"), ("POST", "/admin/breakers/reload")} <= shown
    assert not [url for url in elsewhere if not url.startswith((stack.config.gateway, "data:"))]
    assert problems == []


def test_the_api_page_follows_the_dark_mode(browser: Any, stack: EphemeralStack) -> None:
    """Also when the mode changes while the page is open."""
    page = browser.new_page(color_scheme="dark")

    def background() -> str:
        found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return found

    try:
        page.goto(f"{stack.config.gateway}/docs")
        page.wait_for_selector(".opblock")
        assert background() == "rgb(28, 32, 34)"
        page.emulate_media(color_scheme="light")
        assert wait_for(lambda: background() == "rgb(250, 250, 250)", 5), background()
    finally:
        page.close()
