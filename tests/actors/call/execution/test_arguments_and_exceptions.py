"""A call hands its arguments and context to the function, and raises the function's own exception."""

from __future__ import annotations

import contextvars

import pytest
import trio

from actors import Panel
from actors.call.classifier import Classifier
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.call.breakers import new_breaker


async def test_a_functions_exception_is_raised_unwrapped_with_its_traceback(panel: Panel) -> None:
    breaker = new_breaker(panel)
    mine = KeyError("mine")

    async def inner() -> None:
        raise mine

    with pytest.raises(KeyError) as caught:
        await breaker.execute(inner)
    assert caught.value is mine
    assert "inner" in [entry.name for entry in caught.traceback]
    assert mine.__context__ is None


@pytest.mark.parametrize("fields", [{}, {"call_timeout": 9}, {"max_concurrent": 1}])
async def test_arguments_and_context_reach_the_function(panel: Panel, fields: dict[str, float]) -> None:
    breaker = new_breaker(panel, **fields)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")

    async def echo(*args: int, **kwargs: int) -> tuple[object, ...]:
        return args, kwargs, variable.get()

    assert await breaker.execute(echo, 1, 2, three=3) == ((1, 2), {"three": 3}, "the caller's")
    assert await breaker.execute(echo) == ((), {}, "the caller's")


async def test_settling_a_call_is_protected_from_ctrl_c(
    panel: Panel, dependency: ScriptedDependency, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = Classifier.exception

    def records(self: Classifier, error: BaseException) -> object:
        seen.append(trio.lowlevel.currently_ki_protected())
        return original(self, error)

    async def fails() -> None:
        seen.append(trio.lowlevel.currently_ki_protected())
        raise DependencyDown

    monkeypatch.setattr(Classifier, "exception", records)
    for breaker in (new_breaker(panel), new_breaker(panel, "other", call_timeout=9)):
        with pytest.raises(DependencyDown):
            await breaker.execute(fails)
    assert seen == [False, True] * 2
