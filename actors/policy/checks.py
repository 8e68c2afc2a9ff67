"""Checks of configured values. Each raises ValueError or TypeError naming field, value and range."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard

MOST_COUNTED = 1_000_000
"""The largest window of calls: it takes a megabyte."""

YEAR = 365 * 86_400.0
"""Seconds. A server's request to wait longer is taken as a mistake."""


def credible_wait(seconds: float | None) -> TypeGuard[float]:
    """Whether a server's wait is credible: above 0, and a year at most. NaN isn't."""
    return seconds is not None and 0 < seconds <= YEAR


def positive_int(field: str, value: object, *, least: int = 1, most: float = math.inf) -> None:
    """An int in [least, most]; True and 3.0 are not."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return
    high = "" if most == math.inf else f" and at most {most:,}"
    raise ValueError(f"{field} must be a whole number of at least {least}{high}, got {value!r}")


def number(field: str, value: object, *, least: float, most: float = math.inf, above: bool = False) -> None:
    """A finite number in [least, most], or in (least, most] if `above`."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if fits and (value > least if above else value >= least) and value <= most:  # type: ignore[operator]
        return
    low = f"above {least:g}" if above else f"at least {least:g}"
    high = "" if most == math.inf else f" and at most {most:g}"
    raise ValueError(f"{field} must be a number {low}{high}, got {value!r}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def positive_number(field: str, value: object) -> None:
    """A finite number above 0."""
    number(field, value, least=0, above=True)


AWAITABLES = ("Awaitable", "Coroutine")
"""An annotation that can't be evaluated may begin with one of these."""

LONGEST_NAME = 200
"""The most characters of a breaker's name: it is in each of its log lines and metrics."""


def breaker_name(value: object) -> None:
    """A str of 1 to LONGEST_NAME printable characters: these can be encoded, so logs and scrapes hold."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable():
        return
    raise ValueError(f"name must be a string of 1 to {LONGEST_NAME} printable characters, got {value!r}")


def promises_awaitable(fn: Callable[..., Any]) -> bool:
    """Whether the result of `fn` can be awaited, as far as can be seen without a call.

    True for an async function, a partial or a bound method of one, an object whose `__call__` is one, and a
    function annotated as returning an awaitable. A wrapper made by `functools.wraps` counts as the function
    that it wraps.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    # Neither is called directly: its class makes a method of it.
    if isinstance(fn, classmethod | staticmethod):
        return False
    fn = inspect.unwrap(fn)
    call = getattr(type(fn), "__call__", fn)  # noqa: B004 - the function itself
    return any(_is_async(one) or _returns_awaitable(one) for one in (fn, call))


def _is_async(fn: Any) -> bool:
    if inspect.iscoroutinefunction(fn):
        return True
    # unittest.mock marks what it makes of an async function's signature as asyncio marks its own functions.
    marked = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    if marked is not None and getattr(fn, "_is_coroutine", None) is marked:
        return True
    # unittest.mock.AsyncMock and compiled coroutines can be recognised only by their code's flags.
    flags = getattr(getattr(fn, "__code__", None), "co_flags", 0)
    return isinstance(flags, int) and bool(flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE))


def _returns_awaitable(fn: Any) -> bool:
    annotations = getattr(fn, "__annotations__", None)
    returned = annotations.get("return") if isinstance(annotations, dict) else None
    if returned is None:
        return False
    # Only this annotation: others may use names that are imported for type checkers alone.
    alone = types.SimpleNamespace(__annotations__={"return": returned})
    try:
        returned = typing.get_type_hints(alone, getattr(fn, "__globals__", None))["return"]
    except Exception:  # noqa: BLE001 - an annotation may be any code
        return isinstance(returned, str) and returned.partition("[")[0].rpartition(".")[2] in AWAITABLES
    kind = typing.get_origin(returned) or returned
    return isinstance(kind, type) and issubclass(kind, Awaitable)


def sync_function(field: str, value: Callable[..., Any]) -> None:
    """A function that isn't async: its result is used at once, and a coroutine would always be true."""
    if promises_awaitable(value):
        raise TypeError(f"{field} must be a function that isn't async, got {value!r}")
