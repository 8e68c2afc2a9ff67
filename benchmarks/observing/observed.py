"""`python -m benchmarks.observing.observed`: a process whose breakers are called all the time.

The gateway forwards requests to nginx and reads the breakers of this process. If it forwarded the requests
here, this process would take processor time from the gateway that is measured.
"""

from __future__ import annotations

import os

import trio

from actors import DURATION_BUCKETS, CircuitBreaker, CircuitBreakerConfig, open_panel
from runtime.admin.api import add_recent
from runtime.admin.history import Recorder
from runtime.serving import serve
from runtime.web.app import reply, service_app

CALLS_A_SECOND = 20


async def call(breaker: CircuitBreaker) -> None:
    """Call the breaker for ever. A few calls fail, so that each report differs from the one before."""
    number = 0
    while True:
        number += 1
        async with breaker.guard() as guarded:
            if number % 17 == 0:
                guarded.fail("ServerSelectionTimeoutError")
        await trio.sleep(1 / CALLS_A_SECOND)


async def main() -> None:
    """Serve on the port in the environment variable PORT."""
    async with open_panel(durations=DURATION_BUCKETS) as panel, trio.open_nursery() as nursery:
        app = service_app("student-service", panel)
        recorder = Recorder("student-service", panel)
        add_recent(app, recorder)

        @app.get("/auth/ping")
        async def ping():
            return reply("ok", None)

        await nursery.start(recorder.run)
        for name in ("student-database", "student-service-grpc"):
            nursery.start_soon(call, panel.breaker(CircuitBreakerConfig(name=name)))
        await serve(app, host="127.0.0.1", port=int(os.environ["PORT"]))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
