"""Registered calls: a context variable leads to the calls that the running code is inside of."""

from __future__ import annotations

import sys
from contextvars import Context, ContextVar
from inspect import CO_ASYNC_GENERATOR
from types import FrameType

import trio
from trio.lowlevel import current_task

from ...errors import OTHER_RUN


def running_task() -> trio.lowlevel.Task:
    """The running task. Raises RuntimeError with advice, under asyncio and outside of any run."""
    try:
        return current_task()
    except RuntimeError:
        raise RuntimeError(OTHER_RUN) from None


class HeldCall:
    """A registered running call. Calls in its task, and in child tasks of its nurseries, find it.

    breaker: the breaker that the call goes through, compared by identity.
    """

    __slots__ = ("_generator", "_nurseries", "_task", "breaker", "outer", "running")

    _nurseries: int
    _task: trio.lowlevel.Task
    breaker: object
    outer: HeldCall | None

    def __init__(self, breaker: object) -> None:
        self.breaker = breaker
        self.running = False
        # The frame of the async generator that has entered this call: between its steps other code runs.
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
        """A copy of the present context of the call's task."""
        return self._task.context.copy()

    def stay_within(self, block: FrameType) -> None:
        """If `block`, which has entered this call, is an async generator's frame, hold only where it runs.

        A context manager's generator is left out: the code between its steps is the block that it stands for.
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
    """The innermost running call from `held` on. Ended calls around it are unlinked.

    Calls may overlap rather than nest, or end in another context: ended calls must not pile up.
    """
    while held is not None and not held.running:
        held = held.outer
    while held is not None and held.outer is not None and not held.outer.running:
        held.outer = held.outer.outer
    return held


def held_call(breaker: object) -> HeldCall | None:
    """The registered call through `breaker` that the running code is inside of; None without one."""
    held = HELD.get()
    while held is not None:
        if held.breaker is breaker and held.is_counted() and held.contains_running_task():
            return held
        held = held.outer
    return None
