"""Helpers for tests of code that uses breakers: a clock, a scripted dependency, and `settle`.

async def outage(panel, clock):
    dependency = ScriptedDependency()
    breaker = panel.breaker(CircuitBreakerConfig(name="database"))
    dependency.breaks()
    for _ in range(5):
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
    await advance(clock, 60)
    assert breaker.state == State.HALF_OPEN

def test_an_outage():
    run_with_panel(outage)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
import trio.testing

from .messages import Snapshot
from .panel.opening import open_panel
from .panel.panel import Panel

T = TypeVar("T")


class DependencyDown(Exception):
    """Raised by a broken ScriptedDependency."""


class ScriptedDependency:
    """An async callable that returns "ok" until another outcome is set; `calls` counts its calls.

    `then(*outcomes)` scripts the next calls, one outcome each: an exception is raised, anything else
    returned. `breaks()` and `mends()` set the outcome of later calls. `holds()` makes calls wait for
    `lets_go()`, `takes(seconds)` makes each last that long. `running`: the number of running calls.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self._script: deque[Any] = deque()
        self._error: Exception | None = None
        self._seconds = 0.0
        self._gate = trio.Event()
        self._gate.set()

    def then(self, *outcomes: Any) -> None:
        """Script the next calls, after those scripted already."""
        self._script.extend(outcomes)

    def breaks(self, error: Exception | None = None) -> None:
        """From now on each call raises `error`, by default DependencyDown."""
        self._error = error if error is not None else DependencyDown("down")

    def mends(self) -> None:
        """From now on each call succeeds."""
        self._error = None

    def takes(self, seconds: float) -> None:
        """From now on each call lasts that long."""
        self._seconds = seconds

    def holds(self) -> None:
        """From now on calls wait."""
        if self._gate.is_set():
            self._gate = trio.Event()

    def lets_go(self) -> None:
        """Waiting calls go on, and later calls don't wait."""
        self._gate.set()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One call, with any arguments. Cancellation ends its wait."""
        self.calls += 1
        self.running += 1
        try:
            await trio.sleep(self._seconds)
            await self._gate.wait()
            outcome = self._script.popleft() if self._script else (self._error or "ok")
        finally:
            self.running -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def advance(clock: trio.testing.MockClock, seconds: float) -> None:
    """Jump the clock by `seconds`, and wait until all tasks that this wakes are blocked again.

    Everything due on the way happens at the end of the jump. If it is cancelled, the jump has been made.
    """
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def settle(panel: Panel) -> dict[str, Snapshot]:
    """Wait until every task is blocked and every breaker has counted all calls that have ended.

    Returns a snapshot of each breaker by name. Not for code that awaits real I/O, such as a socket: a task
    that waits for it is blocked, too. Raises PanelClosedError. Cancellation only ends the wait.
    """
    await trio.testing.wait_all_tasks_blocked()
    return await panel.snapshots()


def run_with_panel(
    scenario: Callable[[Panel, trio.testing.MockClock], Awaitable[T]], *, autojump: bool = False
) -> T:
    """Run `scenario(panel, clock)` in a trio.run of its own with an open panel on a MockClock; its result.

    autojump: time jumps to the next deadline when all tasks wait. Raises what `scenario` raises, unwrapped.
    For tests without pytest-trio; with it, open a panel beside its `mock_clock` or `autojump_clock`.
    """
    clock = trio.testing.MockClock(autojump_threshold=0 if autojump else float("inf"))

    async def main() -> T:
        async with open_panel() as panel:
            return await scenario(panel, clock)

    return trio.run(main, clock=clock)
