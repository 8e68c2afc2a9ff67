"""With this on its PYTHONPATH, a process writes its resource usage to RESOURCE_USAGE_FOLDER after SIGUSR1."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from pathlib import Path


def task_names() -> Counter[str]:
    """How many trio tasks there are of each name."""
    import trio

    names: Counter[str] = Counter()
    tasks = [trio.lowlevel.current_root_task()]
    while tasks:
        task = tasks.pop()
        names[task.name] += 1
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return names


def write_usage(*_: object) -> None:
    """Write the numbers of tasks and open files, the bytes of memory, and the names of the tasks.

    The pool of connections to Valkey counts in neither number: it has four at most, as many as it needed.
    """
    gc.collect()
    names = task_names()
    pooled = names["coredis.pool._basic.ConnectionPool.__wrap_connection"]
    found = {
        "names": names,
        "tasks": names.total() - sum(names[one] for one in names if one.startswith("coredis.")),
        "asyncio": sum(issubclass(type(one), asyncio.Task) and not one.done() for one in gc.get_objects()),
        "files": len(list(Path("/proc/self/fd").iterdir())) - pooled,
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }
    path = Path(os.environ["RESOURCE_USAGE_FOLDER"], f"{os.getpid()}.json")
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(found))
    draft.rename(path)


if "RESOURCE_USAGE_FOLDER" in os.environ:
    signal.signal(signal.SIGUSR1, write_usage)
