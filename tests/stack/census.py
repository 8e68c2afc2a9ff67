"""python -m tests.stack.census FILE: the gateway as it is, which writes what it holds to FILE at SIGUSR1."""

from __future__ import annotations

import gc
import json
import signal
import sys
from pathlib import Path

import trio

from gateway.__main__ import main
from gateway.settings import GatewaySettings
from runtime.breakers import load_breakers
from runtime.logs import configure_logs
from runtime.serving import run_process
from runtime.settings import load


def census() -> dict[str, int]:
    """Tasks, open files, and bytes of memory of this process."""
    gc.collect()
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }


async def watched(settings: GatewaySettings, file: Path) -> None:
    """Run the gateway until it is told to stop, and count when asked."""
    configs = load_breakers(settings.circuit_breakers, settings.circuit_breaker_profile)
    async with trio.open_nursery() as nursery:

        async def count(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                task_status.started()
                async for _ in signals:
                    part = file.with_suffix(".part")
                    part.write_text(json.dumps(census()))
                    part.rename(file)

        await nursery.start(count)
        await main(settings, configs)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    chosen = load(GatewaySettings)
    configure_logs("api-gateway", chosen.log_format)
    run_process(watched, chosen, Path(sys.argv[1]))
