"""Calls within calls: a call made inside of a running call through the same breaker joins that call.

Otherwise a probe that calls through its own breaker would be rejected by it, and one failure would count
twice. Most calls register in a context variable. The fastest call styles don't, because that would make them
a third slower. They are found on the stack, which is read only after a failure or before a rejection. The
stack of a parent task doesn't show whether a child's nursery was opened inside of such a call, so a failure
that a child task has counted is marked on its exception.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import Context, ContextVar
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import current_task

from actors.actor import OTHER_RUN
from actors.gate import Gate

if TYPE_CHECKING:
    from actors.settling import Settling


def running_task() -> trio.lowlevel.Task:
    """The running task. Raises RuntimeError that says what to do, under asyncio and outside of any run."""
    try:
        return current_task()
    except RuntimeError:
        raise RuntimeError(OTHER_RUN) from None


class HeldCall:
    """A registered running call. Calls in its task, and in child tasks of its nurseries, find it."""

    __slots__ = ("_nurseries", "_task", "breaker", "outer", "running")

    _nurseries: int
    _task: trio.lowlevel.Task
    outer: HeldCall | None

    def __init__(self, breaker: Settling) -> None:
        self.breaker = breaker
        self.running = False

    def hold(self) -> None:
        """Register: from now on calls of this context are inside of this one."""
        self._task = task = running_task()
        self._nurseries = len(task.child_nurseries)
        self.outer = innermost_held()
        self.running = True
        HELD.set(self)

    @property
    def context(self) -> Context:
        """A copy of what is bound now in the task of this call."""
        return self._task.context.copy()

    def let_go(self) -> None:
        """Unregister: later calls of this context are on their own, though this one goes on elsewhere."""
        if HELD.get() is self:
            HELD.set(self.outer)

    def end(self) -> None:
        """Mark the call as ended. The context may be another one than that of `hold`."""
        self.running = False
        if HELD.get() is self:
            HELD.set(self.outer)

    def contains_running_task(self) -> bool:
        """Whether the running task is this call's or a child of it. Contexts are copied further than that."""
        task: trio.lowlevel.Task | None = current_task()
        while task is not None and task is not self._task:
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
            if task is not None and task is self._task:
                return nursery in task.child_nurseries[self._nurseries :]
        return task is not None


HELD: ContextVar[HeldCall | None] = ContextVar("circuit_breaker_call", default=None)
"""The innermost call that has said that it runs; it may have ended since."""


def innermost_held() -> HeldCall | None:
    """The innermost running call that has registered, without what has ended around it.

    Calls may overlap rather than nest, and a chain of those that have ended would grow without a bound.
    """
    held = HELD.get()
    while held is not None and not held.running:
        held = held.outer
    while held is not None and held.outer is not None and not held.outer.running:
        held.outer = held.outer.outer
    return held


def held_call(breaker: Settling) -> HeldCall | None:
    """The registered call through `breaker` that the running code is inside of; None without one."""
    held = HELD.get()
    while held is not None:
        if held.running and held.breaker is breaker and held.contains_running_task():
            return held
        held = held.outer
    return None


CALLS: dict[int, tuple[CodeType, str, str]] = {}
"""By the id of a call style's code: the code, and its local variables' names for breaker and gate."""
NAMES = {"execute", "protected", "_execute_tallying"}
"""The names of these functions, for a quick check before the exact one."""


def fast_calls(breaker: Settling) -> Iterator[FrameType]:
    """The frames of unregistered calls through `breaker` in the running task, innermost first."""
    first = getattr(current_task().coro, "cr_frame", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if _is_fast_call(frame, breaker):
            yield frame
        if frame is first:
            return
        frame = frame.f_back


def mark_counted(breaker: Settling, error: BaseException) -> None:
    """Mark a counted failure with the unregistered calls of parent tasks, which it may reach."""
    nursery = current_task().parent_nursery
    frames: list[FrameType] = []
    while nursery is not None:
        task = nursery.parent_task
        frames += [frame for frame in _waiting_frames(task.coro) if _is_fast_call(frame, breaker)]
        nursery = task.parent_nursery
    if frames:
        error.__dict__[MARK] = Mark(frames)


def was_counted(call: FrameType, error: BaseException) -> bool:
    """Whether a child task of the unregistered call `call` has counted this failure, or each leaf of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(was_counted(call, one) for one in error.exceptions)
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        mark = link.__dict__.get(MARK)
        if isinstance(mark, Mark) and any(frame is call for frame in mark.frames):
            return True
        link = link.__cause__ or link.__context__
    return False


def withdrawn(error: BaseException) -> bool:
    """Whether a call's function got arguments that don't fit, or returned no awaitable.

    The TypeError then comes from the line that calls and awaits the function: a traceback of one frame.
    """
    trace = error.__traceback__
    return isinstance(error, TypeError) and trace is not None and trace.tb_next is None


MARK = "_counted_by_circuit_breaker"


class Mark:
    """The calls inside of which a failure has been counted. Pickling and copying leave them out."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[FrameType] | None = None) -> None:
        self.frames = frames or []

    def __reduce__(self) -> tuple[type[Mark], tuple[()]]:
        return Mark, ()


def _is_fast_call(frame: FrameType, breaker: Settling) -> bool:
    code = frame.f_code
    if code.co_name not in NAMES:
        return False
    known, breakers_name, gates_name = CALLS.get(id(code), (None, "", ""))
    if known is not code:
        return False
    names = frame.f_locals
    gate = names.get(gates_name)
    if names.get(breakers_name) is not breaker or not isinstance(gate, Gate):
        return False
    # `execute` with a gate that isn't fast has handed its call to one of the other ways.
    return gate.fast or code.co_name == "_execute_tallying"


def _waiting_frames(awaited: Any) -> list[FrameType]:
    """The frames of a waiting task, as far as they can be followed."""
    frames = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            frames.append(frame)
        awaited = getattr(awaited, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
    return frames
