"""Wrappers with the signature of the function that they wrap.

`async def w(*args, **kwargs)` packs and unpacks every argument, which costs as much as the breaker itself. So
a wrapper with the very parameters is compiled, once for each shape of signature: all functions of a shape
share its code, which stays warm.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from ..errors import CircuitOpenError
from ..policy.checks import promises_awaitable
from .accounting import CallAccounting
from .nesting.fast_calls import register_call_style

P = ParamSpec("P")
T = TypeVar("T")

TEMPLATE = """
def factory({breaker}, {fn}, {rejection}):
    async def protected({parameters}):
        {gate} = {breaker}.fast
        if {gate} is None:
            {gate} = {breaker}.gate
            {now} = {breaker}.clock()
            if {now} < {gate}.rejects_until:
                {gate}.rejected += 1
                raise {rejection}({gate}, {now})
            return await {breaker}.execute({fn}, {arguments})
        {gate}.started += 1
        try:
            {result} = await {fn}({arguments})
        except BaseException as {error}:
            await {breaker}._raised({gate}, {error})
            raise
        {gate}.succeeded += 1
        return {result}
    return protected
"""
LOCALS = ("breaker", "fn", "rejection", "gate", "now", "result", "error")


def wrap(breaker: CallAccounting, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`fn` guarded by `breaker`; its name, docstring, defaults and signature stay.

    breaker: a CircuitBreaker, since the wrapper also calls its `execute`. Raises TypeError if `fn` isn't
    async, or has no signature that can be read.
    """
    check_async(fn)
    try:
        signature = inspect.signature(fn, follow_wrapped=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"protect needs a function whose signature can be read, got {fn!r}") from error
    shape = tuple((one.name, one.kind, one.default is not one.empty) for one in signature.parameters.values())
    factory, names = _factory(shape)
    protected = factory(breaker, fn, CircuitOpenError)
    register_call_style(protected.__code__, *names)
    parameters = signature.parameters.values()
    protected.__defaults__ = tuple(
        one.default for one in parameters if one.default is not one.empty and one.kind is not one.KEYWORD_ONLY
    )
    protected.__kwdefaults__ = {
        one.name: one.default
        for one in parameters
        if one.default is not one.empty and one.kind is one.KEYWORD_ONLY
    }
    wrapped: Callable[P, Awaitable[T]] = functools.wraps(fn)(protected)
    return wrapped


def check_async(fn: Callable[..., Any]) -> None:
    """Raise TypeError if calls of `fn` can't be awaited: at once, not when the first call fails."""
    if promises_awaitable(fn):
        return
    if isinstance(fn, classmethod | staticmethod):
        raise TypeError(f"protect goes under @{type(fn).__name__}, closest to the function, got {fn!r}")
    if inspect.isasyncgenfunction(inspect.unwrap(fn)):
        raise TypeError(f"protect can't guard an async generator, for which there is guard(), got {fn!r}")
    raise TypeError(
        f"protect needs an async function, or one annotated as returning an awaitable, got {fn!r}"
    )


@functools.cache
def _factory(shape: tuple[tuple[str, Any, bool], ...]) -> tuple[Callable[..., Any], tuple[str, str]]:
    """The compiled factory for signatures of a shape, and the local names for the breaker and for its gate.

    shape: of each parameter its name, its kind and whether it has a default.
    """
    names = {name for name, _, _ in shape}
    # No local of the template may hide a parameter.
    local = {
        name: next(free for n in range(99) if (free := f"_{name}{n or ''}") not in names) for name in LOCALS
    }
    source = TEMPLATE.format(parameters=_parameters(shape), arguments=_arguments(shape), **local)
    scope: dict[str, Any] = {}
    exec(compile(source, "<protected by a circuit breaker>", "exec"), scope)  # noqa: S102 - names come from a signature
    factory: Callable[..., Any] = scope["factory"]
    return factory, (local["breaker"], local["gate"])


def _parameters(shape: tuple[tuple[str, Any, bool], ...]) -> str:
    parameters = [
        inspect.Parameter(name, kind, default=_Default() if has_default else inspect.Parameter.empty)
        for name, kind, has_default in shape
    ]
    return str(inspect.Signature(parameters))[1:-1]


class _Default:
    """Stands for a default, which is set on the function afterwards."""

    def __repr__(self) -> str:
        return "None"


def _arguments(shape: tuple[tuple[str, Any, bool], ...]) -> str:
    kinds = inspect.Parameter
    passed = {
        kinds.POSITIONAL_ONLY: "{0}",
        kinds.POSITIONAL_OR_KEYWORD: "{0}",
        kinds.VAR_POSITIONAL: "*{0}",
        kinds.KEYWORD_ONLY: "{0}={0}",
        kinds.VAR_KEYWORD: "**{0}",
    }
    return ", ".join(passed[kind].format(name) for name, kind, _ in shape)
