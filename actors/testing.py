"""For tests of code that uses breakers: a dependency that does as it is told, and time by hand.

    async def test_an_outage(mock_clock):
        dependency = ScriptedDependency()
        async with open_panel() as panel:
            breaker = panel.breaker(CircuitBreakerConfig(name="database"))
            dependency.breaks()
            for _ in range(5):
                with pytest.raises(DependencyDown):
                    await breaker.execute(dependency)
            await advance(mock_clock, 60)
            assert breaker.state is State.HALF_OPEN
"""

from __future__ import annotations

from collections import deque
from typing import Any

import trio
import trio.testing


class DependencyDown(Exception):
    """What a broken ScriptedDependency raises."""


class ScriptedDependency:
    """An async callable. It returns "ok" until told otherwise; `calls` counts what reached it.

    `then(*outcomes)` scripts the next calls, one outcome each: an exception is raised, anything else
    returned. `breaks()` and `mends()` switch what comes after. `holds()` makes calls wait for `lets_go()`.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self._script: deque[Any] = deque()
        self._error: Exception | None = None
        self._gate = trio.Event()
        self._gate.set()

    def then(self, *outcomes: Any) -> None:
        """Script the next calls, after those scripted already."""
        self._script.extend(outcomes)

    def breaks(self, error: Exception | None = None) -> None:
        """From now on each call raises `error`, DependencyDown where none is given."""
        self._error = error if error is not None else DependencyDown("down")

    def mends(self) -> None:
        """From now on each call succeeds."""
        self._error = None

    def holds(self) -> None:
        """From now on calls wait."""
        self._gate = trio.Event()

    def lets_go(self) -> None:
        """Those that wait go on, and nobody waits any more."""
        self._gate.set()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One call. Cancellation ends it where it waits."""
        self.calls += 1
        self.running += 1
        try:
            await self._gate.wait()
            outcome = self._script.popleft() if self._script else (self._error or "ok")
        finally:
            self.running -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


async def advance(clock: trio.testing.MockClock, seconds: float) -> None:
    """Jump the clock and let everything that this wakes come to rest."""
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()
