"""Whether two policies mean the same, though functions in them were made anew, such as a handler's lambda."""

from __future__ import annotations

import functools
from dataclasses import fields
from types import FunctionType
from typing import Any

from actors.config import CircuitBreakerConfig


def differing_fields(one: CircuitBreakerConfig, other: CircuitBreakerConfig) -> list[str]:
    """What `one` says otherwise than `other`: `max_failures is 5, not 3`, a line a field."""
    if one == other:
        return []
    return [
        f"{field.name} is {getattr(other, field.name)!r}, not {mine!r}"
        for field in fields(one)
        if not _same(mine := getattr(one, field.name), getattr(other, field.name))
    ]


def _same(one: Any, other: Any, compared: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """compared: the pairs, by their ids, that are being compared already: a function may hold itself."""
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
    """What a function has beside its code, and what a partial is made of."""
    if isinstance(function, functools.partial):
        return function.func, function.args, function.keywords
    return function.__module__, function.__defaults__, function.__kwdefaults__, _held(function)


def _held(function: FunctionType) -> tuple[Any, ...]:
    """The values that a function has from around it. A name that isn't set yet is its empty cell."""
    held = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append(cell)
    return tuple(held)
