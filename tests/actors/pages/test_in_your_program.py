"""The Python of docs/how-to/in-your-program.md runs unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

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
from tests.actors.pages.loading import load
from tests.optional import is_usable

PROGRAM = "docs/how-to/in-your-program.md"
needs_quart = pytest.mark.skipif(not is_usable("quart_trio"), reason="Quart-Trio isn't installed")


class PageProgram:
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
def program() -> PageProgram:
    return PageProgram()


@needs_quart
async def test_the_web_app_opens_its_panel_in_a_test_and_answers_rejections(program: PageProgram) -> None:
    app = program["make_app"]()
    async with app.test_app() as running:
        program.dependency.then(42.0)
        response = await running.test_client().get("/prices/tea")
        assert response.status_code == 200
        assert await response.get_json() == {"price": 42.0}
        await app.prices.force_open()
        response = await running.test_client().get("/prices/tea")
        assert response.status_code == 503
        assert await response.get_json() == {"error": "prices is unavailable"}
    await program["test_a_rejected_request_is_answered_with_503"]()


@needs_quart
def test_retries_outlive_a_short_failure(program: PageProgram) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> Any:
        program.dependency.then(ConnectionError(), ConnectionError(), 42.0)
        return await program["price_with_retries"](breaker, "tea"), trio.current_time(), breaker.state

    price, took, state = program.run("PRICES", scenario)
    assert price == 42.0
    assert took == pytest.approx(0.1 + 0.2)
    assert state is State.CLOSED


@needs_quart
@pytest.mark.parametrize(("rest", "calls"), [(4, 1), (20, 0)])
def test_retries_wait_for_a_rejection_that_their_caller_can_wait_for(
    program: PageProgram, rest: float, calls: int
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
def test_short_rejections_and_connection_errors_are_worth_retrying(program: PageProgram) -> None:
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
def test_time_limits_of_the_page_count_as_it_describes(
    program: PageProgram, policy: str, call: str, raised: list[type[BaseException]], state: State
) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> Any:
        program.dependency.takes(3600)
        if call == "price_or_none":
            return await hang_three_times(program[call], breaker, "tea"), breaker.state
        return await hang_three_times(breaker.execute, program[call], "tea"), breaker.state

    assert program.run(policy, scenario) == (raised, state)


@needs_quart
def test_the_program_with_a_global_decorator_runs(
    program: PageProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    program.dependency.then(42.0)
    trio.run(program["main"])
    assert capsys.readouterr().out == "42.0\nCLOSED\n"


@needs_quart
@pytest.mark.parametrize(("trip", "state"), [(False, State.OPEN), (True, State.CLOSED)])
def test_an_outer_breaker_counts_failures_but_not_rejections(
    program: PageProgram, trip: bool, state: State
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
def test_an_answer_of_the_catalogue_counts_as_a_success(program: PageProgram) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> dict[str, int]:
        program.dependency.breaks(program["UnknownItemError"]())
        with pytest.raises(program["UnknownItemError"]):
            await breaker.execute(program.dependency)
        return dict((await breaker.snapshot()).counts)

    assert program.run("CATALOGUE", scenario)["success"] == 1


@needs_quart
def test_a_stream_closes_a_half_open_breaker_before_it_ends(program: PageProgram) -> None:
    async def scenario(breaker: CircuitBreaker, clock: MockClock) -> list[State]:
        await breaker.trip()
        await trio.sleep(breaker.config.reset_timeout + 1)
        states = [breaker.state]
        program.dependency.takes(1)
        with trio.move_on_after(5):
            await program["print_prices"](breaker)
        return [*states, breaker.state]

    assert program.run("PRICES", scenario) == [State.HALF_OPEN, State.CLOSED]
