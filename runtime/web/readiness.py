"""Readiness: before a process stops, /readyz reports it while requests are still served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

Stop = Callable[[], Awaitable[None]]


class Readiness:
    """The state behind /readyz. stopping: the process stops soon, so /readyz answers 503."""

    def __init__(self) -> None:
        self.stopping = False

    def stop_after(self, delay: float, stop: Stop) -> Stop:
        """Return an async function that waits for `stop`, then for `delay` seconds.

        In between `stopping` is true and requests are still served, so that a load balancer can redirect
        them.
        """

        async def delayed() -> None:
            await stop()
            self.stopping = True
            await trio.sleep(delay)

        return delayed
