"""The Python of README.md and docs/ runs unchanged and is typed. The API page has every public name."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import actors
import actors.testing
from actors import (
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    State,
    open_panel,
)
from actors.testing import DependencyDown, ScriptedDependency, advance, run_with_panel
from tests.optional import is_usable
from tests.typing.pages import ROOT, all_pages, code_of, errors_of

DOCS = ROOT / "docs"
PYTHON = re.compile(r"^ {4}(from [\w.]+ import |import \w|async (def|with|for) |(.*= )?await )", re.MULTILINE)


def load(page: str) -> dict[str, Any]:
    """Run all blocks of a page as one module; its names."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code_of(ROOT / page), str(ROOT / page), "exec"), names)
    return names


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


# docs/how-to/in-your-program.md.

PROGRAM = "docs/how-to/in-your-program.md"
needs_quart = pytest.mark.skipif(not is_usable("quart_trio"), reason="Quart-Trio isn't installed")


class Program:
    """The page's code, with a scripted dependency as its `fetch_price`."""

    def __init__(self) -> None:
        self.names = load(PROGRAM)
        self.dependency = ScriptedDependency()
        self.names["fetch_price"] = self.dependency

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def run(self, policy: str, scenario: Callable[[CircuitBreaker, MockClock], Any]) -> Any:
        async def with_breaker(panel: Panel, clock: MockClock) -> Any:
            return await scenario(panel.breaker(self.names[policy]), clock)

        return run_with_panel(with_breaker, autojump=True)


@pytest.fixture
def program() -> Program:
    return Program()


@needs_quart
async def test_the_web_app_opens_its_panel_in_a_test_and_answers_rejections(program: Program) -> None:
    app = program["make_app"]()
    async with app.test_app() as running:
        program.dependency.then(42.0)
        response = await running.test_client().get("/prices/tea")
        assert (response.status_code, await response.get_json()) == (200, {"price": 42.0})
        await app.prices.force_open()
        response = await running.test_client().get("/prices/tea")
        assert (response.status_code, await response.get_json()) == (503, {"error": "prices is unavailable"})
    await program["test_a_rejected_request_is_answered_with_503"]()


@needs_quart
def test_retries_outlive_a_short_failure(program: Program) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> Any:
        program.dependency.then(ConnectionError(), ConnectionError(), 42.0)
        return await program["price_with_retries"](breaker, "tea"), trio.current_time(), breaker.state

    price, took, state = program.run("PRICES", scenario)
    assert (price, took, state) == (42.0, pytest.approx(0.1 + 0.2), State.CLOSED)


@needs_quart
@pytest.mark.parametrize(("rest", "calls"), [(4, 1), (20, 0)])
def test_retries_wait_for_a_rejection_that_their_caller_can_wait_for(
    program: Program, rest: float, calls: int
) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> Any:
        await breaker.trip()
        await advance(clock, breaker.config.reset_timeout - rest)
        before = trio.current_time()
        try:
            await program["price_with_retries"](breaker, "tea")
        except CircuitOpenError:
            pass
        return trio.current_time() - before

    assert program.run("PRICES", scenario) == pytest.approx(rest * calls)
    assert program.dependency.calls == calls


@needs_quart
def test_what_is_worth_retrying(program: Program) -> None:
    worth = program["worth_retrying"]
    assert worth(CircuitOpenError("it", State.OPEN, 3.0, "open")) == 3.0
    assert worth(CircuitOpenError("it", State.OPEN, 30.0, "open")) is False
    assert worth(ConnectionError()) is True
    assert worth(KeyError()) is False


async def hang_three_times(call: Callable[..., Any], *arguments: Any) -> list[type[BaseException]]:
    raised: list[type[BaseException]] = []
    for _ in range(3):
        try:
            await call(*arguments)
        except (CallTimeout, trio.TooSlowError) as error:
            raised.append(type(error))
    return raised


@needs_quart
@pytest.mark.parametrize(
    ("policy", "call", "raised", "state"),
    [
        ("PRICES", "price_or_none", [], State.CLOSED),
        ("SLOW", "price_or_none", [], State.OPEN),
        ("LIMITED", "fetch_price", [CallTimeout] * 3, State.OPEN),
        ("PRICES", "fetch_price_in_time", [trio.TooSlowError] * 3, State.OPEN),
    ],
)
def test_which_time_limits_count(
    program: Program, policy: str, call: str, raised: list[type[BaseException]], state: State
) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> Any:
        program.dependency.takes(3600)
        if call == "price_or_none":
            return await hang_three_times(program[call], breaker, "tea"), breaker.state
        return await hang_three_times(breaker.execute, program[call], "tea"), breaker.state

    assert program.run(policy, scenario) == (raised, state)


@needs_quart
def test_the_program_with_a_global_decorator_runs(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.dependency.then(42.0)
    trio.run(program["main"])
    assert capsys.readouterr().out == "42.0\nCLOSED\n"


@needs_quart
@pytest.mark.parametrize(("trip", "state"), [(False, State.OPEN), (True, State.CLOSED)])
def test_an_outer_breaker_counts_failures_but_not_rejections(
    program: Program, trip: bool, state: State
) -> None:
    async def scenario(outer: CircuitBreaker, clock: MockClock) -> State:
        program.dependency.breaks()
        async with open_panel() as panel:
            inner = panel.breaker(CircuitBreakerConfig(name="inner"))
            if trip:
                await inner.trip()
            for _ in range(outer.config.max_failures):
                with pytest.raises((DependencyDown, CircuitOpenError)):
                    await outer.execute(inner.execute, program.dependency)
        return outer.state

    assert program.run("PRICES", scenario) == state


@needs_quart
def test_an_answer_of_the_catalogue_counts_as_a_success(program: Program) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> dict[str, int]:
        program.dependency.breaks(program["UnknownItemError"]())
        with pytest.raises(program["UnknownItemError"]):
            await breaker.execute(program.dependency)
        return dict((await breaker.snapshot()).counts)

    assert program.run("CATALOGUE", scenario)["success"] == 1


@needs_quart
def test_a_stream_closes_a_half_open_breaker_before_it_ends(program: Program) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> list[State]:
        await breaker.trip()
        await trio.sleep(breaker.config.reset_timeout + 1)
        states = [breaker.state]
        program.dependency.takes(1)
        with trio.move_on_after(5):
            await program["print_prices"](breaker)
        return [*states, breaker.state]

    assert program.run("PRICES", scenario) == [State.HALF_OPEN, State.CLOSED]


# The API's reference.


def test_the_reference_has_every_public_name() -> None:
    page = (DOCS / "reference/api.md").read_text()
    assert [name for name in actors.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_the_machine_has_every_name_of_the_reference() -> None:
    section = (DOCS / "reference/api.md").read_text().partition("\n## Machine\n")[2]
    names = set(re.findall(r"`\.(\w+)", section))
    assert {"admit", "settle", "wake"} <= names
    assert [name for name in sorted(names) if not hasattr(actors.Machine, name)] == []


# The type check of the pages.


def test_an_error_is_reported_at_its_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "a-page.md"
    blocks = ("x: int = 1\n", "y: str = x\n\ndef f(): ...\n")
    page.write_text("# A page\n" + "".join(f"\nAnd:\n\n```python\n{block}```\n" for block in blocks))
    other = tmp_path / "other.md"
    other.write_text("```python\nx: str = ''\n```\n")
    found = errors_of([page, other]).splitlines()
    assert found[0].startswith(f"{page}:12: error: Incompatible types in assignment")
    assert found[1].startswith(f"{page}:14: error: Function is missing a return type annotation")
    assert not any(str(other) in line for line in found)


def test_a_page_without_code_is_no_module(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```text\nx: int = 'one'\n```\n")
    assert (code_of(page), errors_of([page])) == ("", "")


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_all_python_of_a_page_is_fenced_and_so_is_checked(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"^ *(?:```|~~~)(.+)$", text, re.MULTILINE)) <= {"python", "text"}
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not PYTHON.search(prose)


def examples_in_docstrings() -> Iterator[tuple[str, list[str]]]:
    """The indented blocks of the docstrings of actors and its adapters, with the place of each."""
    for file in sorted(Path(actors.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                for block in re.findall(r"\n\n((?: {4}.*(?:\n|\Z)|\n(?= {4}))+)", text):
                    yield f"{file.stem}.{getattr(node, 'name', 'module')}", statements(block)


def statements(code: str) -> list[str]:
    return [line.strip() for line in code.splitlines() if line.strip()]


def test_an_example_in_a_docstring_stands_in_the_documents_too() -> None:
    pages = ["\n".join(statements(code_of(page))) for page in all_pages()]
    examples = {name: "\n".join(lines) for name, lines in examples_in_docstrings()}
    assert {"httpx.BreakerTransport", "logs.log_transitions"} <= examples.keys()
    assert [name for name, code in examples.items() if not any(code in page for page in pages)] == []
