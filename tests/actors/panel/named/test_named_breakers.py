"""A breaker by its name at module level: it is the breaker of the panel that is open."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    NamedBreaker,
    Panel,
    State,
    breaker_named,
    open_panel,
)
from actors.testing import DependencyDown, ScriptedDependency, run_with_panel
from tests.actors.failing import fail
from tests.actors.panel.named.functions import BY_NAME_ALONE, NAMED, doubled
from tests.actors.panel.registered import POLICY
from tests.actors.policies import policy


async def test_a_named_breaker_is_that_of_the_open_panel(panel: Panel) -> None:
    assert await doubled(3, plus=1) == 7
    assert NAMED.find() is panel["it"] is BY_NAME_ALONE.find()
    assert NAMED.find().config is POLICY
    for _ in range(3):
        with pytest.raises(DependencyDown):
            await doubled(-1)
    with pytest.raises(CircuitOpenError):
        await doubled(3)
    assert (await panel["it"].snapshot()).counts == {
        "success": 1, "failure": 3, "ignored": 0, "cancelled": 0, "rejected": 1,
    }  # fmt: skip


def test_a_named_breakers_repr_has_its_name() -> None:
    assert repr(NAMED) == "<NamedBreaker 'it'>"
    assert NAMED.name == "it"
    assert BY_NAME_ALONE.name == "it"
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice the number.")


@pytest.mark.parametrize("named", [NAMED, BY_NAME_ALONE])
async def test_a_named_breaker_without_an_open_panel_raises_with_advice(named: NamedBreaker) -> None:
    async with open_panel():
        pass
    with pytest.raises(RuntimeError, match="no panel is open in this trio.run: put `async with open_panel"):
        named.find()


def test_a_named_breaker_outside_of_trio_raises_the_same_error() -> None:
    with pytest.raises(RuntimeError, match="no panel is open in this trio.run"):
        NAMED.find()


async def test_a_name_alone_makes_no_breaker(panel: Panel) -> None:
    with pytest.raises(KeyError, match="no circuit breaker 'it' on this panel, which has: none"):
        BY_NAME_ALONE.find()
    assert len(panel) == 0


async def test_a_named_policy_that_conflicts_raises_at_its_use(panel: Panel) -> None:
    panel.breaker(policy(max_failures=4))
    with pytest.raises(ValueError, match="max_failures is 4, not 3$"):
        await doubled(1)


async def test_a_named_breaker_is_on_the_innermost_panel() -> None:
    async with open_panel() as outer:
        assert NAMED.find() is outer["it"]
        async with open_panel() as inner:
            assert NAMED.find() is inner["it"] is not outer["it"]
        assert NAMED.find() is outer["it"]


async def test_panels_may_close_in_the_order_in_which_they_opened() -> None:
    first, second = open_panel(), open_panel()
    async with trio.open_nursery() as nursery:
        leave = trio.Event()

        async def opened(task_status: trio.TaskStatus[None]) -> None:
            async with first:
                task_status.started()
                await leave.wait()

        await nursery.start(opened)
        async with second as panel:
            leave.set()
            await wait_all_tasks_blocked()
            assert NAMED.find() is panel["it"]


async def test_a_panel_that_failed_is_no_longer_open() -> None:
    with pytest.raises(KeyError):
        async with open_panel():
            raise KeyError
    with pytest.raises(RuntimeError, match="no panel is open"):
        NAMED.find()


async def test_a_breaker_named_by_its_policy_is_made_anew_after_its_removal(panel: Panel) -> None:
    removed = NAMED.find()
    await fail(removed, 3)
    await panel.remove("it")
    with pytest.raises(KeyError):
        BY_NAME_ALONE.find()
    assert await doubled(1) == 2
    assert NAMED.find() is panel["it"] is BY_NAME_ALONE.find() is not removed


def test_the_state_of_a_named_breaker_does_not_reach_the_next_run() -> None:
    async def scenario(panel: Panel, clock: MockClock) -> tuple[CircuitBreaker, State]:
        await fail(NAMED.find(), 3)
        return NAMED.find(), NAMED.find().state

    (first, state), (second, again) = run_with_panel(scenario), run_with_panel(scenario)
    assert first is not second
    assert state == again == State.OPEN


def test_runs_in_two_threads_never_see_each_others_breakers() -> None:
    found: list[bool] = []

    async def scenario(panel: Panel, clock: MockClock) -> None:
        own = NAMED.find()
        found.extend([await doubled(1) == 2 and NAMED.find() is own for _ in range(300)])

    threads = [threading.Thread(target=run_with_panel, args=(scenario,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 900


class OtherRunMeanwhile(NamedBreaker):
    """Another run finds its own breaker just before the nth read of the found one."""

    def __init__(self, policy: CircuitBreakerConfig, nth: int) -> None:
        self._reads_left: float = float("inf")
        super().__init__(policy)
        self.find()
        self._reads_left = nth

    @property
    def _found(self) -> Any:
        self._reads_left -= 1
        return (object(), "another run's breaker") if self._reads_left == 0 else self._kept

    @_found.setter
    def _found(self, found: Any) -> None:
        self._kept = found


@pytest.mark.parametrize("nth", range(1, 6))
async def test_find_never_returns_the_breaker_of_another_run(panel: Panel, nth: int) -> None:
    named = OtherRunMeanwhile(POLICY, nth)
    for _ in range(5):
        assert named.find() is panel["it"]


def test_protect_refuses_a_function_that_is_not_async() -> None:
    with pytest.raises(TypeError, match="protect needs an async function"):
        NAMED.protect(len)  # type: ignore[arg-type]


# Names are checked.


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", "\x00", "\ud800", "tab\t", 7, None, b"it"])
def test_a_name_that_logs_and_metrics_cannot_carry_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name must be a string of 1 to 200 printable characters, got"):
        CircuitBreakerConfig(name=name)
    if isinstance(name, str):
        with pytest.raises(ValueError, match="name must be a string of 1 to 200 printable characters, got"):
            breaker_named(name)


@pytest.mark.parametrize("name", ["x", "x" * 200, "school-service (Zürich)", "[::1]:80", "例え", "a b"])
async def test_any_printable_name_has_a_breaker(panel: Panel, name: str) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name=name))
    assert await breaker.execute(ScriptedDependency()) == "ok"
    assert panel[name] is breaker
    assert breaker_named(name).find() is breaker
