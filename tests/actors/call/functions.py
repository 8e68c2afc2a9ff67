"""Functions that a breaker accepts or refuses: async and not, of every shape."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import asynccontextmanager
from typing import Any


async def fine(*_args: object) -> str:
    return "fine"


class Shapes:
    """Every kind of async method."""

    async def method(self, value: int) -> object:
        return "method", value

    @classmethod
    async def of_class(cls, value: int) -> object:
        return cls.__name__, value

    @staticmethod
    async def static(value: int) -> object:
        return "static", value

    async def __call__(self, value: int) -> object:
        return "called", value


async def two(first: object, second: object) -> object:
    return first, second


def annotated(value: int) -> Awaitable[object]:
    return two("annotated", value)


@types.coroutine
def by_generator(value: int) -> Generator[Any, Any, object]:
    yield from two("generator", value).__await__()
    return "generator", value


def sync(value: int = 0) -> int:
    return value


async def rows() -> AsyncIterator[int]:
    yield 1


@asynccontextmanager
async def managed() -> AsyncIterator[int]:
    yield 1


class Sync:
    def __call__(self) -> int:
        return 1

    @classmethod
    async def of_class(cls) -> int:
        return 1
