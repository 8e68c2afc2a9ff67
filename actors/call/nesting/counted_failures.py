"""Marks on exceptions that were counted in a child task: calls of parent tasks don't count them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType

from .fast_calls import fast_calls_of_parents

MARK = "_counted_by_circuit_breaker"


class Mark:
    """The calls inside of which a failure was counted already. Pickled and copied without them."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[FrameType] | None = None) -> None:
        self.frames = frames or []

    def __reduce__(self) -> tuple[type[Mark], tuple[()]]:
        return Mark, ()


def mark_counted(breaker: object, error: BaseException) -> None:
    """Mark a counted failure with the unregistered calls of parent tasks, which it may reach."""
    if frames := fast_calls_of_parents(breaker):
        _mark(error, Mark(frames))


def _mark(error: BaseException, mark: Mark) -> None:
    """Mark an exception, and of a group its leaves: trio makes groups anew, without their attributes."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            _mark(one, mark)
    else:
        error.__dict__[MARK] = mark


def is_marked(error: BaseException) -> bool:
    """Whether this failure, or one that it is made of, was counted inside of another call: a quick check."""
    return any(MARK in link.__dict__ for link in _links(error))


def was_counted(call: FrameType, error: BaseException, counts: Callable[[BaseException], bool]) -> bool:
    """Whether child tasks of the fast call `call` have counted this failure.

    A group was counted if all its failures were, and an error raised from another one, or while another one
    was handled, if that was. counts: whether an exception is a failure.
    """
    return _was_counted(call, error, counts, {})


def _was_counted(
    call: FrameType, error: BaseException, counts: Callable[[BaseException], bool], known: dict[int, bool]
) -> bool:
    pending = [error]
    while pending:
        link = pending.pop()
        if known.get(id(link), False):
            return True
        if id(link) in known:
            continue
        # An exception that was raised anew while its own group was handled leads back to itself.
        known[id(link)] = False
        mark = link.__dict__.get(MARK)
        found = isinstance(mark, Mark) and any(frame is call for frame in mark.frames)
        if isinstance(link, BaseExceptionGroup):
            failures = [one for one in link.exceptions if counts(one)]
            found = found or (
                bool(failures) and all(_was_counted(call, one, counts, known) for one in failures)
            )
        else:
            pending += [one for one in (link.__context__, link.__cause__) if one is not None]
        if found:
            known[id(error)] = True
            return True
    return False


def _links(error: BaseException) -> Iterator[BaseException]:
    """An exception, those that it was raised from, and the leaves of groups among them."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            pending += (link.__context__, link.__cause__)
            if isinstance(link, BaseExceptionGroup):
                pending += link.exceptions
