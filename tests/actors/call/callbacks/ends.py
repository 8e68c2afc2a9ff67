"""Functions that end in every way, callbacks that raise, and the log lines about them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from actors import CallTimeout, CircuitBreaker, CircuitBreakerConfig
from tests.actors.styles import Style

REQUEST: ContextVar[str] = ContextVar("request", default="none")


def policy(**fields: Any) -> CircuitBreakerConfig:
    """A policy that opens at no failure of these tests, unless `fields` say otherwise."""
    never = {} if "trip" in fields else {"max_failures": 100}
    return CircuitBreakerConfig(name="it", **{**never, **fields})


async def answers() -> str:
    await trio.lowlevel.checkpoint()
    return "ok"


async def fails() -> str:
    raise OSError("the call's own")


async def is_ignored() -> str:
    raise LookupError("the call's own")


async def times_out() -> str:
    await trio.sleep(10)
    return "too late"


ENDS: dict[Callable[[], Awaitable[str]], tuple[str, object]] = {
    answers: ("success", "ok"),
    fails: ("failure", OSError),
    is_ignored: ("ignored", LookupError),
    times_out: ("failure", CallTimeout),
}
"""Functions, the outcomes of their calls with a `call_timeout` of 5, and their results or exception types."""


async def end_of(call: Style, breaker: CircuitBreaker, fn: Callable[[], Awaitable[str]]) -> object:
    """The result of a call, or the type of the exception that it raises."""
    try:
        return await call(breaker, fn)
    except (OSError, LookupError) as error:
        assert error.__cause__ is None
        assert error.__context__ is None or isinstance(error, CallTimeout), (
            "a callback's exception is its context"
        )
        return type(error)


def raises() -> Any:
    raise ZeroDivisionError("the callback's own")


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {(record.levelno, record.name) for record in caplog.records} <= {(logging.ERROR, "trio_breakers")}
    assert all(record.exc_info and record.exc_info[1] is not None for record in caplog.records)
    return [record.getMessage() for record in caplog.records]
