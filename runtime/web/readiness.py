"""Whether a process wants new requests. Before it stops it says so, and goes on serving for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

Stop = Callable[[], Awaitable[None]]


class Readiness:
    """stopping: the process will stop soon, so /readyz answers 503."""

    def __init__(self) -> None:
        self.stopping = False

    def stop_after(self, delay: float, stop: Stop) -> Stop:
        """An async function that returns `delay` seconds after `stop` has.

        In between clients are still served: a load balancer that asks /readyz has that long to send them
        elsewhere.
        """

        async def delayed() -> None:
            await stop()
            self.stopping = True
            await trio.sleep(delay)

        return delayed
