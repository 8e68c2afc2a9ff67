"""A failure of a nested call in a child task counts once, also as part of a group of exceptions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import (
    CASES,
    PAIRS,
    STYLES,
    Call,
    TranslatedError,
    call,
    down,
    expect_failure,
    failures,
    in_child,
    opened,
)


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_in_a_child_task_counts_once(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, inner, down)))
        assert await failures(breaker) == 1


@pytest.mark.parametrize("outer", STYLES)
async def test_a_failure_in_a_child_task_counts_once_while_other_calls_run(outer: str) -> None:
    async with opened("plain") as breaker, trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, "execute", down)))
        assert (await breaker.snapshot()).counts["failure"] == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_failure_in_a_childs_child_counts_once(outer: str, inner: str) -> None:
    async with opened("plain") as breaker:
        innermost = in_child(lambda: call(breaker, inner, down))
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, inner, innermost)))
        assert await failures(breaker) == 1


def _from_group(group: BaseException) -> None:
    raise TranslatedError from group


def _from_leaf(group: BaseException) -> None:
    assert isinstance(group, ExceptionGroup)
    raise TranslatedError from group.exceptions[0]


def _leaf(group: BaseException) -> None:
    assert isinstance(group, ExceptionGroup)
    raise group.exceptions[0]


def _from_none(_group: BaseException) -> None:
    raise TranslatedError from None


def _from_another(_group: BaseException) -> None:
    raise TranslatedError from ValueError("another")


REWORKINGS = [_from_group, _from_leaf, _leaf, _from_none, _from_another]


@pytest.mark.parametrize("reworks", REWORKINGS)
@pytest.mark.parametrize("outer", STYLES)
@pytest.mark.parametrize("inner", ["execute", "guard"])
async def test_a_childs_failure_counts_once_however_it_is_raised_again(
    outer: str, inner: str, reworks: Callable[[BaseException], None]
) -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: call(breaker, inner, down))()
            except ExceptionGroup as group:
                reworks(group)

        await expect_failure(breaker, outer, reworked, TranslatedError, DependencyDown)
        assert await failures(breaker) == 1


async def test_a_failure_behind_5000_causes_counts_once() -> None:
    async with opened("plain") as breaker:

        async def long_chain() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                error: BaseException = group
                for _ in range(5000):
                    error, cause = TranslatedError(), error
                    error.__cause__ = cause
                raise error from error.__cause__

        await expect_failure(breaker, "execute", long_chain, TranslatedError)
        assert await failures(breaker) == 1


async def test_a_counted_failure_can_be_pickled_and_copied() -> None:
    async with opened("plain") as breaker:
        seen: list[BaseException] = []

        async def keeps() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                seen.append(group.exceptions[0])
                raise

        await expect_failure(breaker, "execute", keeps)
        (error,) = seen
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert repr(other) == repr(error)

            async def raises_it(other: BaseException = other) -> None:
                raise other

            await expect_failure(breaker, "execute", raises_it)
        assert await failures(breaker) == 4


@pytest.mark.parametrize("outer", ["execute", "protect"])
async def test_a_group_counts_again_only_for_a_failure_that_no_child_has_counted(outer: str) -> None:
    async def ignored() -> None:
        raise KeyError

    async with opened("plain", ignore=KeyError) as breaker:

        async def with_ignored(second: Call) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, down)
                nursery.start_soon(second)

        await expect_failure(breaker, outer, lambda: with_ignored(ignored))
        assert await failures(breaker) == 1
        await expect_failure(breaker, outer, lambda: with_ignored(down))
        assert await failures(breaker) == 3


async def test_a_group_of_a_counted_failure_and_its_consequence_does_not_count_again() -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                first = group.exceptions[0]
                second = TranslatedError()
                second.__cause__ = first
                errors = [first, second]
            raise ExceptionGroup("attempts", errors)

        await expect_failure(breaker, "execute", reworked, ExceptionGroup)
        assert await failures(breaker) == 1


def _group_of_new_errors(group: BaseException) -> None:
    raise ExceptionGroup("all attempts", [TranslatedError(), TranslatedError()]) from group


async def test_new_failures_raised_while_a_counted_one_is_handled_count_once_as_a_group() -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                _group_of_new_errors(group)

        await expect_failure(breaker, "execute", reworked, ExceptionGroup)
        # The leaves were raised in no handler, so nothing links them to the counted failure.
        assert await failures(breaker) == 2


async def test_a_failure_caused_by_its_own_group_counts_once() -> None:
    """Raising a leaf while its group is handled makes a circle of the two."""
    async with opened("plain") as breaker:

        async def raises_a_circle() -> None:
            fresh = DependencyDown("another")
            group = ExceptionGroup("loop", [fresh])
            fresh.__cause__ = group
            raise fresh

        async def children() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, down)
                nursery.start_soon(raises_a_circle)

        await expect_failure(breaker, "execute", children)
        assert await failures(breaker) == 2
