"""Compare policies. Functions that one line made twice, such as a lambda in a handler, are equal."""

from __future__ import annotations

import functools
from dataclasses import fields
from types import FunctionType
from typing import Any

from actors.config import CircuitBreakerConfig


def differing_fields(one: CircuitBreakerConfig, other: CircuitBreakerConfig) -> list[str]:
    """The fields in which `one` differs from `other`, each as `max_failures is 5, not 3`."""
    if one == other:
        return []
    return [
        f"{field.name} is {getattr(other, field.name)!r}, not {mine!r}"
        for field in fields(one)
        if not _same(mine := getattr(one, field.name), getattr(other, field.name))
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return one is other or (
            one.__code__ == other.__code__
            and one.__module__ == other.__module__
            and _same(one.__defaults__, other.__defaults__)
            and _same(one.__kwdefaults__, other.__kwdefaults__)
            and _same(_held(one), _held(other))
        )
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        return (
            _same(one.func, other.func)
            and _same(one.args, other.args)
            and _same(one.keywords, other.keywords)
        )
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _held(function: FunctionType) -> tuple[Any, ...]:
    """The values in a function's closure; for a variable that isn't set yet, its cell."""
    held = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append(cell)
    return tuple(held)
