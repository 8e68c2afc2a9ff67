"""The Python of README.md, the tutorial and the page about testing runs unchanged."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actors
import actors.testing
from actors import CallTimeout, Panel, State
from actors.testing import run_with_panel
from tests.actors.pages.loading import DOCS, load
from tests.optional import is_usable

TESTING = load("docs/reference/testing.md")
EXAMPLES = {name: one for name, one in TESTING.items() if name.startswith("test_")}


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page_about_testing_passes(name: str) -> None:
    example: Callable[..., Any] = EXAMPLES[name]
    if name == "test_it_probes_after_its_wait":
        clock = MockClock()
        trio.run(example, clock, clock=clock)
    else:
        example()


def test_the_example_of_the_helpers_for_tests_passes() -> None:
    names: dict[str, Any] = {**vars(actors), **vars(actors.testing), "pytest": pytest}
    exec(textwrap.dedent((actors.testing.__doc__ or "").partition("\n\n")[2]), names)
    names["test_an_outage"]()


def test_the_tutorials_program_does_what_the_tutorial_describes(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "tutorial" / "first-breaker.md").read_text()
    printed = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert printed is not None
    names = load("docs/tutorial/first-breaker.md")
    trio.run(names["main"], clock=MockClock(autojump_threshold=0))
    assert capsys.readouterr().out == printed[1]


def test_the_tutorials_fallback_serves_failures_and_rejections() -> None:
    names = load("docs/tutorial/first-breaker.md")

    async def scenario(panel: Panel, clock: MockClock) -> list[str]:
        breaker, service = panel.breaker(names["POLICY"]), names["Service"]()
        ask = partial(names["forecast_or_guess"], breaker, service)
        answers = [await ask()]
        service.up = False
        answers.append(await ask())
        assert (await breaker.snapshot()).counts["failure"] == 1
        await breaker.trip()
        return [*answers, await ask()]

    assert run_with_panel(scenario, autojump=True) == ["Oslo: sun", *["Oslo: as yesterday"] * 2]


def test_the_tutorials_policy_with_a_time_limit_counts_a_service_that_hangs() -> None:
    names = load("docs/tutorial/first-breaker.md")

    async def scenario(panel: Panel, clock: MockClock) -> State:
        breaker = panel.breaker(names["IMPATIENT"])
        for _ in range(3):
            with pytest.raises(CallTimeout):
                await breaker.execute(trio.sleep_forever)
        return breaker.state

    assert run_with_panel(scenario, autojump=True) == State.OPEN


@pytest.mark.skipif(not is_usable("httpx"), reason="httpx isn't installed")
def test_the_program_of_the_readme_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    httpx = pytest.importorskip("httpx")
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda: transport)
    load("README.md")
    assert capsys.readouterr().out == "200\n"
