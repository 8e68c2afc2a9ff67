"""The real stack and a real Chromium. Without one of them these tests are skipped, with the reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.config import StackError
from deploy.demo.ephemeral_stack import EphemeralStack
from deploy.programs.mongodb import find_mongod
from tests.browser.fake_stream import DashboardPage

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "an-admin-token-for-the-test-of-32-characters"
DESKTOP, PHONE = (1280, 900), (390, 844)
# Only in `just test-resilience`: a page keeps both cores busy for a second.
TABLET = pytest.param((900, 900), marks=pytest.mark.resilience)
SMALL_PHONE = pytest.param((320, 640), marks=pytest.mark.resilience)
SIZES = [DESKTOP, PHONE, TABLET, SMALL_PHONE]


@dataclass
class Screen:
    """One open dashboard. problems: its JavaScript errors. elsewhere: the URLs of other hosts."""

    page: Any
    stack: EphemeralStack
    problems: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def wait_for_state(self, breaker: str, state: str, seconds: float = 10) -> None:
        """Wait until a row shows a state."""
        row = f"article[data-name='{breaker}'][data-state='{state}']"
        self.page.wait_for_selector(row, timeout=seconds * 1000)

    def wait_for_text(self, selector: str, text: str, seconds: float = 10) -> None:
        """Wait until an element has a text in it."""
        self.page.locator(selector, has_text=text).first.wait_for(timeout=seconds * 1000)

    def picture(self, name: str) -> None:
        """Save a screenshot to the folder in the environment variable SCREENSHOTS, if it is set."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.wait_for_timeout(700)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="uv sync --group dev installs playwright")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium: apt-get update && apt-get install -y chromium")
    # trio-asyncio replaces asyncio's event loop policy; Playwright needs the default one.
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        with playwright.sync_playwright() as started:
            opened = started.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
            yield opened
            opened.close()
    finally:
        asyncio.set_event_loop_policy(None)


@pytest.fixture(scope="session")
def stack() -> Iterator[EphemeralStack]:
    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    reset_timeout = float(os.environ.get("SCREENSHOTS_RESET_TIMEOUT", "3"))
    with EphemeralStack(reset_timeout, ADMIN_TOKEN=TOKEN) as running:
        running.sign_up()
        yield running


@pytest.fixture
def open_screen(browser: Any, stack: EphemeralStack) -> Iterator[Any]:
    """A function that opens a dashboard. Fails at the end after errors, or requests to other hosts."""
    screens: list[Screen] = []

    def open_one(size: tuple[int, int] = DESKTOP, scheme: str = "light", **more: Any) -> Screen:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, **more)
        screen = Screen(context.new_page(), stack)
        screens.append(screen)
        screen.page.on("pageerror", lambda error: screen.problems.append(str(error)))
        screen.page.on("console", lambda message: _note(screen, message))
        screen.page.on("request", lambda request: _watch(screen, request.url))
        screen.page.goto(f"{stack.config.gateway}/dashboard")
        screen.wait_for_state("student-service-grpc", "CLOSED")
        return screen

    yield open_one
    for screen in screens:
        screen.page.context.close()
        assert screen.problems == []
        assert screen.elsewhere == []


@pytest.fixture
def open_dashboard(browser: Any, stack: EphemeralStack) -> Iterator[Any]:
    """A function that opens a dashboard with a fake stream. Fails at the end after JavaScript errors."""
    opened: list[DashboardPage] = []

    def open_one(size: tuple[int, int] = DESKTOP, **more: Any) -> DashboardPage:
        more = {"reduced_motion": "reduce", "timezone_id": "UTC", **more}
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
        one = DashboardPage(context.new_page(), stack)
        opened.append(one)
        one.open()
        return one

    yield open_one
    for one in opened:
        one.page.context.close()
        assert one.problems == []


def _note(screen: Screen, message: Any) -> None:
    # The tests cause network errors on purpose. A violation of the content security policy is a problem.
    if (
        message.type == "error"
        and "Failed to load resource" not in message.text
        and "net::ERR" not in message.text
    ):
        screen.problems.append(message.text)


def _watch(screen: Screen, url: str) -> None:
    if not url.startswith(screen.stack.config.gateway):
        screen.elsewhere.append(url)
