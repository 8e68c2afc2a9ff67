"""Tasks that stand still in a trio.run while the others and the clock go on: a process after SIGSTOP."""

from __future__ import annotations

import random

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT


class FrozenTasks(trio.abc.Instrument):
    """Takes the tasks below frozen roots out of the scheduler's queue until they are thawed.

    The deadlines of a frozen task pass, and its events are set. The task continues only when it is thawed:
    then everything happens at once, in any order.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._held: dict[trio.lowlevel.Task, list[trio.lowlevel.Task]] = {}

    def freeze(self, root: trio.lowlevel.Task) -> None:
        """Stop a task and all tasks below it."""
        self._held[root] = []
        for task in list(GLOBAL_RUN_CONTEXT.runner.runq):
            self.task_scheduled(task)

    def thaw(self, root: trio.lowlevel.Task) -> None:
        """Let them go on."""
        held = self._held.pop(root)
        self._dice.shuffle(held)
        GLOBAL_RUN_CONTEXT.runner.runq.extend(held)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Called by trio when a task has become ready to run."""
        if not self._held:
            return
        above: trio.lowlevel.Task | None = task
        while above is not None:
            if above in self._held:
                GLOBAL_RUN_CONTEXT.runner.runq.remove(task)
                self._held[above].append(task)
                return
            nursery = above.parent_nursery
            above = None if nursery is None else nursery.parent_task
