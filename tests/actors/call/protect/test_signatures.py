"""Protected functions keep their signature, defaults included, for all shapes and names."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

import pytest

from actors import CircuitBreaker
from actors.call.protect import _factory


async def nothing() -> object:
    return ()


async def several(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int, e: int = 5, **more: int) -> object:
    return a, b, c, rest, d, e, more


async def greedy(*args: object, **kwargs: object) -> object:
    return args, kwargs


async def awkward(breaker: int, fn: int, _gate: int, result: int = 4, *, error: int = 5) -> object:
    return breaker, fn, _gate, result, error


async def unrepresentable(value: object = object) -> object:
    return value


@pytest.mark.parametrize("function", [nothing, several, greedy, awkward, unrepresentable])
async def test_a_protected_function_keeps_its_signature(
    breaker: CircuitBreaker, function: Callable[..., Awaitable[object]]
) -> None:
    protected = breaker.protect(function)
    assert inspect.signature(protected, follow_wrapped=False) == inspect.signature(function)
    assert protected.__name__ == function.__name__
    assert protected.__wrapped__ == function


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (nothing, (), {}),
        (several, (1,), {"d": 4}),
        (several, (1, 9, 8, 7, 6), {"d": 4, "e": 3, "x": 1}),
        (greedy, (1, 2), {"self": 3, "fn": 4}),
        (awkward, (1, 2, 3), {}),
        (awkward, (1,), {"fn": 2, "_gate": 3, "error": 6}),
        (unrepresentable, (), {}),
    ],
)
@pytest.mark.parametrize("disabled", [False, True])
async def test_a_protected_function_gets_its_arguments_unchanged(
    breaker: CircuitBreaker,
    function: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    disabled: bool,
) -> None:
    if disabled:
        await breaker.disable()
    assert await breaker.protect(function)(*args, **kwargs) == await function(*args, **kwargs)


async def test_a_protected_method_keeps_its_self(breaker: CircuitBreaker) -> None:
    class Client:
        @breaker.protect
        async def ask(self, what: str) -> tuple[object, str]:
            return self, what

    client = Client()
    assert await client.ask("x") == (client, "x")
    assert await breaker.protect(client.ask)("y") == (client, "y")


async def test_protected_functions_of_one_shape_share_their_code(breaker: CircuitBreaker) -> None:
    async def other() -> None: ...

    before = _factory.cache_info().misses
    first, second = breaker.protect(nothing), breaker.protect(other)
    assert first.__code__ is second.__code__  # type: ignore[attr-defined]
    assert _factory.cache_info().misses <= before + 1


class NoSignature:
    """Async, with a signature that can't be read."""

    __signature__ = "none"

    async def __call__(self) -> None:
        """Return None."""


async def test_a_callable_without_a_signature_is_refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError, match="whose signature can be read"):
        breaker.protect(NoSignature())
