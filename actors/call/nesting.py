"""Calls within calls: a call through a breaker that the call path is inside of already joins that call.

A probe that calls through its own breaker would be rejected by itself, and one failure would count twice.
Most calls say by a context variable that they run. The fastest call styles say nothing, since that would cost
a third of them: these are found on the stack, where a failure or a rejection makes a caller look. The stack
of a parent task doesn't tell whether a child's nursery was opened inside of such a call; there, the exception
that has been counted is marked.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar
from inspect import CO_ASYNC_GENERATOR
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import current_task

from ..mailbox import OTHER_RUN
from .gate import Gate

if TYPE_CHECKING:
    from .accounting import CallAccounting


def running_task() -> trio.lowlevel.Task:
    """The running task. Raises RuntimeError that says what to do, under asyncio and outside of any run."""
    try:
        return current_task()
    except RuntimeError:
        raise RuntimeError(OTHER_RUN) from None


class HeldCall:
    """A registered running call. Calls in its task, and in child tasks of its nurseries, find it."""

    __slots__ = ("_generator", "_nurseries", "_task", "breaker", "outer", "running")

    _nurseries: int
    _task: trio.lowlevel.Task
    outer: HeldCall | None

    def __init__(self, breaker: CallAccounting) -> None:
        self.breaker = breaker
        self.running = False
        # The frame of the async generator whose block this is: between its steps others' code runs.
        self._generator: FrameType | None = None

    def hold(self) -> None:
        """Register: from now on calls of this context are inside of this one."""
        self._task = task = running_task()
        self._nurseries = len(task.child_nurseries)
        self.outer = running_held(HELD.get())
        self.running = True
        HELD.set(self)

    @property
    def context(self) -> Context:
        """A copy of what is bound now in the task of this call."""
        return self._task.context.copy()

    def stay_within(self, block: FrameType) -> None:
        """Hold only where `block`, which has entered this call, runs, if that is an async generator's frame.

        One that is a context manager's is left out: what runs between its steps is the block it stands for.
        """
        if block.f_code.co_flags & CO_ASYNC_GENERATOR:
            driver = block.f_back
            if driver is None or driver.f_globals.get("__name__") != "contextlib":
                self._generator = block

    def let_go(self) -> None:
        """Unregister: later calls of this context are on their own, though this one goes on elsewhere."""
        if HELD.get() is self:
            HELD.set(running_held(self.outer))

    def end(self) -> None:
        """Mark the call as ended. The context may be another one than that of `hold`."""
        self.running = False
        self._generator = None
        self.let_go()

    def is_counted(self) -> bool:
        """Whether this call runs, and is counted at its end."""
        return self.running

    def contains_running_task(self) -> bool:
        """Whether the running task is this call's or a child of it. Contexts are copied further than that."""
        if self._generator is not None:
            return _is_on_stack(self._generator)
        task: trio.lowlevel.Task | None = current_task()
        while task is not None and task is not self._task:
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
            if task is not None and task is self._task:
                return nursery in task.child_nurseries[self._nurseries :]
        return task is not None


def _is_on_stack(frame: FrameType) -> bool:
    running: FrameType | None = sys._getframe()
    while running is not None and running is not frame:
        running = running.f_back
    return running is not None


HELD: ContextVar[HeldCall | None] = ContextVar("circuit_breaker_call", default=None)
"""The innermost call that has registered; it may have ended since."""


def running_held(held: HeldCall | None) -> HeldCall | None:
    """The innermost call from `held` on that runs, without those that have ended around it.

    Calls may overlap rather than nest, or end in another context: what has ended must not pile up.
    """
    while held is not None and not held.running:
        held = held.outer
    while held is not None and held.outer is not None and not held.outer.running:
        held.outer = held.outer.outer
    return held


def held_call(breaker: CallAccounting) -> HeldCall | None:
    """The registered call through `breaker` that the running code is inside of; None without one."""
    held = HELD.get()
    while held is not None:
        if held.breaker is breaker and held.is_counted() and held.contains_running_task():
            return held
        held = held.outer
    return None


CALLS: dict[int, tuple[CodeType, str, str]] = {}
"""By the id of a call style's code: the code, and its names for the breaker and for the gate."""
NAMES = {"execute", "protected", "_execute_tallying"}
"""The names of these functions: a quick look before the exact one."""
FOLLOWED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def fast_calls(breaker: CallAccounting) -> Iterator[FrameType]:
    """The frames of unregistered calls through `breaker` in the running task, innermost first."""
    first = getattr(current_task().coro, "cr_frame", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in NAMES and _is_fast_call(frame, breaker):
            yield frame
        frame = None if frame is first else frame.f_back


def mark_counted(breaker: CallAccounting, error: BaseException) -> None:
    """Mark a counted failure with the unregistered calls of parent tasks, which it may reach."""
    nursery = current_task().parent_nursery
    frames: list[FrameType] = []
    while nursery is not None:
        task = nursery.parent_task
        frames += [frame for frame in _fast_looking_frames(task.coro) if _is_fast_call(frame, breaker)]
        nursery = task.parent_nursery
    if frames:
        _mark(error, Mark(frames))


def _mark(error: BaseException, mark: Mark) -> None:
    """trio takes groups apart and makes them anew, without what was noted on them: their leaves stay."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            _mark(one, mark)
    else:
        error.__dict__[MARK] = mark


def is_marked(error: BaseException) -> bool:
    """Whether this failure, or one that it is made of, was counted inside of another call: a quick look."""
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


def withdrawn(error: BaseException) -> bool:
    """Whether a call's function was called wrongly, or returned what can't be awaited.

    Then the TypeError comes from the very line that calls and awaits it: a traceback of one frame.
    """
    trace = error.__traceback__
    return isinstance(error, TypeError) and trace is not None and trace.tb_next is None


MARK = "_counted_by_circuit_breaker"


class Mark:
    """The calls inside of which a failure was counted already. Pickled and copied without them."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[FrameType] | None = None) -> None:
        self.frames = frames or []

    def __reduce__(self) -> tuple[type[Mark], tuple[()]]:
        return Mark, ()


def _is_fast_call(frame: FrameType, breaker: CallAccounting) -> bool:
    code = frame.f_code
    known, breakers_name, gates_name = CALLS.get(id(code), (None, "", ""))
    if known is not code:
        return False
    names = frame.f_locals
    gate = names.get(gates_name)
    if names.get(breakers_name) is not breaker or not isinstance(gate, Gate):
        return False
    # `execute` with a gate that isn't fast has handed its call to one of the other ways.
    return gate.fast or code.co_name == "_execute_tallying"


def _fast_looking_frames(awaited: Any) -> list[FrameType]:
    """The frames of a task that waits, as far as they can be followed: those that have one of NAMES."""
    frames: list[FrameType | None] = []
    while awaited is not None:
        kind = type(awaited)
        # By far the most are of this kind, and a stack may be deep.
        if kind is CoroutineType:
            if awaited.cr_code.co_name in NAMES:
                frames.append(awaited.cr_frame)
            awaited = awaited.cr_await
        elif kind is GeneratorType:
            awaited = awaited.gi_yieldfrom
        elif kind is AsyncGeneratorType:
            awaited = awaited.ag_await
        else:
            # A coroutine's `__await__()`, or a step of an async generator: neither says what it stands for.
            behind = gc.get_referents(awaited)
            awaited = next((one for one in behind if isinstance(one, FOLLOWED)), None)
    return [frame for frame in frames if frame is not None]
