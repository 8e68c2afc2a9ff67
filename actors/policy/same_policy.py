"""Compare policies. Two functions made by the same line, such as a lambda in a handler, are equal."""

from __future__ import annotations

import functools
from dataclasses import fields
from types import FunctionType
from typing import Any

from .config import CircuitBreakerConfig


def differing_fields(one: CircuitBreakerConfig, other: CircuitBreakerConfig) -> list[str]:
    """The fields in which `one` differs from `other`, each as `max_failures is 5, not 3`."""
    if one == other:
        return []
    return [
        f"{field.name} is {getattr(other, field.name)!r}, not {mine!r}"
        for field in fields(one)
        if not _same(mine := getattr(one, field.name), getattr(other, field.name))
    ]


def _same(one: Any, other: Any, compared: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """compared: the pairs, by their ids, that are being compared already: a closure may contain itself."""
    if one is other or (id(one), id(other)) in compared:
        return True
    if type(one) is not type(other):
        return bool(one == other)
    compared |= {(id(one), id(other))}
    match one:
        case FunctionType():
            return one.__code__ == other.__code__ and _same(_parts(one), _parts(other), compared)
        case functools.partial():
            return _same(_parts(one), _parts(other), compared)
        case tuple():
            return len(one) == len(other) and all(
                _same(mine, theirs, compared) for mine, theirs in zip(one, other, strict=True)
            )
        case dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key], compared) for key in one)
    return bool(one == other)


def _parts(function: Any) -> tuple[Any, ...]:
    """The values of a function beside its code, or of a partial."""
    if isinstance(function, functools.partial):
        return function.func, function.args, function.keywords
    return function.__module__, function.__defaults__, function.__kwdefaults__, _held(function)


def _held(function: FunctionType) -> tuple[Any, ...]:
    """The values in a function's closure; for a variable that isn't set yet, its cell."""
    held = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append(cell)
    return tuple(held)
