"""The tasks, open files and memory of a process of the stack, as it reports them itself."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import trio

INSIDE = Path(__file__).with_name("inside")


class ResourceUsage:
    """Reads the resource usage of processes that were started with `settings` in their environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = os.environ.get("PYTHONPATH")
        self.settings = {
            "PYTHONPATH": os.pathsep.join((str(INSIDE), path)) if path else str(INSIDE),
            "RESOURCE_USAGE_FOLDER": str(folder),
        }

    async def of(self, pid: int) -> dict[str, Any]:
        """tasks (trio) and files (open ones) without its pool of connections to Valkey, asyncio (its tasks),
        memory (bytes). Fails after 10 s.

        names: how many trio tasks there are of each name.
        """
        file = self._folder / f"{pid}.json"
        file.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR1)
        with trio.fail_after(10):
            while not file.exists():  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.02)
        found: dict[str, Any] = json.loads(file.read_text())
        return found
