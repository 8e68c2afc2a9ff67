"""Rejections that are kept or copied: equal, independent of the breaker, and without references to it."""

from __future__ import annotations

import copy
import gc
import weakref
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitOpenError, Panel, open_panel
from tests.actors.call.rejections.copies import facts, pickled
from tests.actors.call.rejections.rejecting import Rejecting, by_execute, of_each_reason, opened, rejection


@of_each_reason
@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
async def test_a_copy_of_a_rejection_is_equal(
    panel: Panel, running: trio.Nursery, autojump_clock: MockClock, rejecting: Rejecting, copied: Any
) -> None:
    error = await rejection(by_execute, await rejecting(panel, running))
    error.add_note("asked for a price")
    again = copied(copied(error))
    assert facts(again) == facts(error)
    assert again.__notes__ == ["asked for a price"]
    assert again.args == error.args


@of_each_reason
async def test_the_repr_of_a_rejection_is_the_call_that_makes_it(
    panel: Panel, running: trio.Nursery, autojump_clock: MockClock, rejecting: Rejecting
) -> None:
    error = await rejection(by_execute, await rejecting(panel, running))
    assert repr(error).startswith(f"{type(error).__name__}('it', ")
    again = type(error)(*error.args)
    assert facts(again) == facts(error)


async def test_a_rejection_and_its_copy_do_not_change_with_the_breaker(
    panel: Panel, autojump_clock: MockClock
) -> None:
    breaker = await opened(panel)
    error = await rejection(by_execute, breaker)
    before = facts(error)
    again = pickled(error)
    await trio.sleep(60)
    await breaker.execute(trio.sleep, 0)
    await breaker.force_open()
    assert facts(error) == facts(again) == before


class Argument:
    """An argument, which can be referred to weakly."""


async def test_a_kept_rejection_refers_neither_to_its_caller_nor_to_its_breaker() -> None:
    """Without its traceback, as errors are queued and sent."""
    kept: list[CircuitOpenError] = []

    async def outage() -> list[weakref.ref[Any]]:
        async with open_panel() as panel:
            breaker, mine = await opened(panel), Argument()

            async def call(argument: Argument) -> None:
                await trio.lowlevel.checkpoint()

            for protected in (breaker.protect(call), partial(breaker.execute, call)):
                try:
                    await protected(mine)
                except CircuitOpenError as error:
                    kept.append(error.with_traceback(None))
            return [weakref.ref(mine), weakref.ref(breaker), weakref.ref(panel)]

    gone = await outage()
    gc.collect()
    assert [one() for one in gone] == [None, None, None]
    assert [error.name for error in kept] == ["it", "it"]
