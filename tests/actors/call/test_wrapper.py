"""Protected functions keep their signature, defaults included, whatever its shape and names."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, open_panel
from actors.call.protect import _factory


@pytest.fixture
async def breaker() -> AsyncIterator[CircuitBreaker]:
    async with open_panel() as panel:
        yield panel.breaker(CircuitBreakerConfig(name="it"))


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
async def test_the_signature_stays(
    breaker: CircuitBreaker, function: Callable[..., Awaitable[object]]
) -> None:
    protected = breaker.protect(function)
    assert inspect.signature(protected, follow_wrapped=False) == inspect.signature(function)
    assert (protected.__name__, protected.__wrapped__) == (function.__name__, function)  # type: ignore[attr-defined]


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
async def test_arguments_arrive_as_they_were_given(
    breaker: CircuitBreaker,
    function: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    disabled: bool,
) -> None:
    if disabled:
        await breaker.disable()
    assert await breaker.protect(function)(*args, **kwargs) == await function(*args, **kwargs)


async def test_a_method_keeps_its_self(breaker: CircuitBreaker) -> None:
    class Client:
        @breaker.protect
        async def ask(self, what: str) -> tuple[object, str]:
            return self, what

    client = Client()
    assert await client.ask("x") == (client, "x")
    assert await breaker.protect(client.ask)("y") == (client, "y")


async def test_functions_of_one_shape_share_their_code(breaker: CircuitBreaker) -> None:
    async def other() -> None: ...

    before = _factory.cache_info().misses
    first, second = breaker.protect(nothing), breaker.protect(other)
    assert first.__code__ is second.__code__  # type: ignore[attr-defined]
    assert _factory.cache_info().misses <= before + 1


class NoSignature:
    """Async, though nobody can say with which parameters."""

    __signature__ = "none"

    async def __call__(self) -> None:
        """Nothing."""


async def test_what_has_no_signature_is_refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError, match="whose signature can be read"):
        breaker.protect(NoSignature())


async def test_outcomes_count_as_with_execute(breaker: CircuitBreaker) -> None:
    @breaker.protect
    async def act(error: BaseException | None = None) -> None:
        if error is not None:
            raise error

    await act()
    mine = KeyError()
    with pytest.raises(KeyError) as caught:
        await act(mine)
    assert caught.value is mine
    with trio.move_on_after(0):
        await breaker.protect(trio.sleep)(1)
    counts = (await breaker.snapshot()).counts
    assert (counts["success"], counts["failure"], counts["cancelled"]) == (1, 1, 1)
    await breaker.trip()
    with pytest.raises(CircuitOpenError):
        await act()
