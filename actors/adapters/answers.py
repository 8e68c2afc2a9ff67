"""Exceptions that are answers: the dependency is well, and says no."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from actors.handle import CircuitBreaker

P = ParamSpec("P")
T = TypeVar("T")


async def execute_answering(
    breaker: CircuitBreaker,
    is_answer: Callable[[Exception], bool],
    fn: Callable[P, Awaitable[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """As `breaker.execute`, but an exception that is an answer counts as a success.

    It comes out all the same. `execute` alone would ignore it: a probe that is answered by a refusal
    would then close nothing. Raises and is cancelled as `execute`.
    """
    async with breaker.guard() as call:
        try:
            result = await fn(*args, **kwargs)
        except Exception as error:
            if not is_answer(error):
                raise
            answer = error
        else:
            call.returned(result)
            return result
    try:
        raise answer
    finally:
        # Its traceback holds this frame.
        del answer
