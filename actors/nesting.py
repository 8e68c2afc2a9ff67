"""Calls within calls: a call through a breaker that the running call path is inside of already joins that call.

A probe that calls through its own breaker would be rejected by itself, and one failure would count twice. Most calls
say by a context variable that they run. The two fastest call styles say nothing, since that would cost a third of
them: these are found on the stack, where a failure or a rejection makes a caller look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import trio

from actors.gate import Gate

if TYPE_CHECKING:
    from actors.settling import Settling


class HeldCall:
    """A call that runs, as the calls inside of it find it: also in child tasks, and only while it runs."""

    __slots__ = ("breaker", "outer", "running")

    def __init__(self, breaker: Settling) -> None:
        self.breaker = breaker
        self.outer: HeldCall | None = None
        self.running = False

    def hold(self) -> None:
        """From now on calls of this context are inside of this one."""
        self.outer = _held.get()
        self.running = True
        _held.set(self)

    def let_go(self) -> None:
        """Later calls are not. For the same context; in another one only `running` tells."""
        if _held.get() is self:
            _held.set(self.outer)

    def end(self) -> None:
        """It has ended, in whatever context."""
        self.running = False
        self.let_go()


_held: ContextVar[HeldCall | None] = ContextVar("circuit_breaker_call", default=None)


def held_call(breaker: Settling) -> HeldCall | None:
    """The call through `breaker` that the running code is part of, if that call said so."""
    held = _held.get()
    while held is not None:
        if held.running and held.breaker is breaker:
            return held
        held = held.outer
    return None


CALLS: dict[int, tuple[CodeType, str, str]] = {}
"""By the id of a function's code: the code of a call style, and its names for the breaker and for the gate."""
NAMES = {"execute", "protected", "_execute_tallying"}
"""The names of these functions: a quick look before the exact one."""


def fast_calls(breaker: Settling) -> Iterator[FrameType]:
    """The frames of calls through `breaker` that say nothing, innermost first: of this task, and of its parents.

    Parents: the tasks whose nurseries the task runs in, for a child ends before its parent's call does.
    """
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    for frame in _running_frames(task):
        if _is_fast_call(frame, breaker):
            yield frame
    while task is not None:
        nursery = task.parent_nursery
        task = None if nursery is None else nursery.parent_task
        for frame in _waiting_frames(None if task is None else task.coro):
            if _is_fast_call(frame, breaker):
                yield frame


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


def _running_frames(task: trio.lowlevel.Task | None) -> Iterator[FrameType]:
    """The frames of the running task, innermost first."""
    first = None if task is None else getattr(task.coro, "cr_frame", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame
        if frame is first:
            return
        frame = frame.f_back


def _waiting_frames(awaited: Any) -> list[FrameType]:
    """The frames of a task that waits, innermost first, as far as they can be followed."""
    frames = []
    while awaited is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            break
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            frames.append(frame)
        awaited = getattr(awaited, f"{kind}_await" if kind != "gi" else "gi_yieldfrom")
    return frames[::-1]
