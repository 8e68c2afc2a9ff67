"""Unregistered calls: those of the fastest call styles, found as frames on the stacks of tasks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeVar

from trio.lowlevel import current_task

from ..gate import Gate

Style = TypeVar("Style", bound=Callable[..., Any])

CALLS: dict[int, tuple[CodeType, str, str]] = {}
"""By the id of a call style's code: the code, and its local names for the breaker and for the gate."""
NAMES = {"execute", "protected", "_execute_counting"}
"""The names of these functions: a quick check before the exact one."""
FOLLOWED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def call_style(function: Style) -> Style:
    """Register a method of the breaker as a fast call style. Its local names are `self` and `gate`."""
    register_call_style(function.__code__, "self", "gate")
    return function


def register_call_style(code: CodeType, breaker: str, gate: str) -> None:
    """Register the code of a fast call style. breaker, gate: its local names for them."""
    CALLS.setdefault(id(code), (code, breaker, gate))


def fast_calls(breaker: object) -> Iterator[FrameType]:
    """The frames of unregistered calls through `breaker` in the running task, innermost first."""
    first = getattr(current_task().coro, "cr_frame", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name in NAMES and _is_fast_call(frame, breaker):
            yield frame
        frame = None if frame is first else frame.f_back


def fast_calls_of_parents(breaker: object) -> list[FrameType]:
    """The frames of unregistered calls through `breaker` in the parent tasks of the running task."""
    nursery = current_task().parent_nursery
    frames: list[FrameType] = []
    while nursery is not None:
        task = nursery.parent_task
        frames += [frame for frame in _fast_looking_frames(task.coro) if _is_fast_call(frame, breaker)]
        nursery = task.parent_nursery
    return frames


def _is_fast_call(frame: FrameType, breaker: object) -> bool:
    code = frame.f_code
    known, breakers_name, gates_name = CALLS.get(id(code), (None, "", ""))
    if known is not code:
        return False
    names = frame.f_locals
    gate = names.get(gates_name)
    if names.get(breakers_name) is not breaker or not isinstance(gate, Gate):
        return False
    # `execute` with a gate that isn't fast has passed its call on to another call style.
    return gate.fast or code.co_name == "_execute_counting"


def _fast_looking_frames(awaited: Any) -> list[FrameType]:
    """The frames of a waiting task that have one of NAMES, as far as its frames can be followed."""
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
            # A coroutine's `__await__()`, or a step of an async generator: neither has an attribute for
            # the object that it runs.
            behind = gc.get_referents(awaited)
            awaited = next((one for one in behind if isinstance(one, FOLLOWED)), None)
    return [frame for frame in frames if frame is not None]
