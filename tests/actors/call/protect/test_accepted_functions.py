"""Which functions protect accepts, and which it refuses."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from actors import CircuitBreaker, breaker_named
from tests.actors.call.breakers import outcome_counts
from tests.actors.call.functions import Shapes, Sync, annotated, by_generator, fine, managed, rows, sync, two

if TYPE_CHECKING:
    from decimal import Decimal


class Decorator(Shapes):
    """With `__get__`, for which `inspect` takes it for a routine."""

    def __get__(self, instance: object, owner: type) -> object:
        return functools.partial(self.method, 1)


def annotated_coroutine(value: int) -> Coroutine[Any, Any, object]:
    return two("coroutine", value)


def annotated_for_types(value: Decimal) -> Awaitable[object]:
    """Only type checkers can evaluate the annotation of `value`."""
    return two("types", value)


def annotated_by_text(value: int) -> typing.Awaitable[object]:  # type: ignore[name-defined]  # noqa: F821
    return two("by text", value)


def hidden(fn: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    """A decorator whose own function has no annotation."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


ACCEPTED: list[tuple[Callable[..., Awaitable[object]], str]] = [
    (Shapes().method, "method"),
    (Shapes.of_class, "Shapes"),
    (Shapes.static, "static"),
    (Shapes(), "called"),
    (functools.partial(two, "partial"), "partial"),
    (functools.partial(functools.partial(two), "partial"), "partial"),
    (functools.partial(Shapes().method), "method"),
    (annotated, "annotated"),
    (annotated_coroutine, "coroutine"),
    (annotated_for_types, "types"),
    (annotated_by_text, "by text"),
    (by_generator, "generator"),
    (hidden(functools.partial(two, "hidden")), "hidden"),
    (mock.AsyncMock(return_value=("mock", 7)), "mock"),
    (mock.AsyncMock(spec=Shapes().method, return_value=("spec", 7)), "spec"),
    (mock.create_autospec(Shapes.static, return_value=("autospec", 7)), "autospec"),
]


@pytest.mark.parametrize(("function", "name"), ACCEPTED, ids=[name for _, name in ACCEPTED])
async def test_a_callable_that_returns_an_awaitable_can_be_protected(
    breaker: CircuitBreaker, function: Callable[..., Awaitable[object]], name: str
) -> None:
    assert await breaker.protect(function)(7) == (name, 7)
    assert await breaker.execute(function, 7) == (name, 7)
    assert await outcome_counts(breaker) == {"success": 2}


async def test_methods_can_be_protected_by_decorators(breaker: CircuitBreaker) -> None:
    class Service:
        @breaker.protect
        async def method(self, value: int) -> int:
            return value

        @classmethod
        @breaker.protect
        async def of_class(cls, value: int) -> object:
            return cls.__name__, value

        @staticmethod
        @breaker.protect
        async def static(value: int) -> int:
            return value

    service = Service()
    assert await service.method(1) == 1
    assert await Service.of_class(2) == ("Service", 2)
    assert await service.static(3) == 3


NEEDS = "protect needs an async function, or one annotated as returning an awaitable, got <"
REFUSED: list[tuple[Any, str]] = [
    (sync, NEEDS),
    (lambda: None, NEEDS),
    (
        functools.partial(sync, 1),
        "protect needs an async function, or one annotated as returning an awaitable",
    ),
    (Sync(), NEEDS),
    (Sync().__call__, NEEDS),
    (mock.MagicMock(), NEEDS),
    (mock.Mock(), NEEDS),
    (mock.create_autospec(sync), NEEDS),
    (print, NEEDS),
    (rows, "protect can't guard an async generator, for which there is guard(), got <function rows"),
    (managed, "protect can't guard an async generator, for which there is guard(), got <function managed"),
    (vars(Sync)["of_class"], "protect goes under @classmethod, closest to the function, got <classmethod"),
    (staticmethod(fine), "protect goes under @staticmethod, closest to the function, got <staticmethod"),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
async def test_a_callable_that_returns_no_awaitable_cannot_be_protected(
    breaker: CircuitBreaker, function: Any, message: str
) -> None:
    for protect in (breaker.protect, breaker_named("it").protect):
        with pytest.raises(TypeError, match=re.escape(message)):
            protect(function)
