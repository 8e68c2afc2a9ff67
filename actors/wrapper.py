"""Wrappers with the signature of what they wrap.

`async def w(*args, **kwargs)` packs and unpacks every argument: as dear as the breaker itself. So a
wrapper with the very parameters is compiled, once for each shape of signature: all functions of a
shape share its code, which stays warm.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from actors.errors import CircuitOpenError

if TYPE_CHECKING:
    from actors.handle import CircuitBreaker

P = ParamSpec("P")
T = TypeVar("T")

TEMPLATE = """
def factory({breaker}, {fn}, {rejection}):
    async def protected({parameters}):
        {gate} = {breaker}._fast
        if {gate} is None:
            {gate} = {breaker}._gate
            {now} = {breaker}._clock()
            if {now} < {gate}.until:
                {gate}.rejected += 1
                raise {rejection}({breaker}.name, {gate}.state, {gate}.until - {now}, {gate}.reason)
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


def wrap(breaker: CircuitBreaker, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """`fn` guarded by `breaker`; its name, document, defaults and signature stay.

    Raises TypeError where `fn` has no signature that can be read.
    """
    try:
        signature = inspect.signature(fn, follow_wrapped=False)
    except ValueError as error:
        raise TypeError(f"protect needs a function whose signature can be read, got {fn!r}") from error
    shape = tuple((one.name, one.kind, one.default is not one.empty) for one in signature.parameters.values())
    protected = _factory(shape)(breaker, fn, CircuitOpenError)
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


@functools.cache
def _factory(shape: tuple[tuple[str, Any, bool], ...]) -> Callable[..., Any]:
    """The compiled factory for signatures of this shape: name, kind and whether there is a default."""
    names = {name for name, _, _ in shape}
    # No local of the template may hide a parameter.
    local = {
        name: next(free for n in range(99) if (free := f"_{name}{n or ''}") not in names) for name in LOCALS
    }
    source = TEMPLATE.format(parameters=_parameters(shape), arguments=_arguments(shape), **local)
    scope: dict[str, Any] = {}
    exec(compile(source, "<protected by a circuit breaker>", "exec"), scope)  # noqa: S102 - names come from a signature
    factory: Callable[..., Any] = scope["factory"]
    return factory


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
