"""Starting processes: wait until each is ready, and show the progress."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from deploy import procfs
from deploy.config import HOST, StackConfig, StackError
from deploy.programs import load_balancer, mongodb, valkey
from deploy.supervisor import Process, StackSupervisor
from protocols.topology import LOAD_BALANCER, MONGODB, VALKEY, is_gateway

START_SECONDS = 60.0
"""Seconds that a process may take until it is ready."""
MOST_CHARACTERS = 600
"""Longest line of a log that is printed whole; a traceback may be one line of JSON."""


def start(config: StackConfig, names: Sequence[str], console: Console) -> None:
    """Start processes, the stores before the others, and show the progress until all are ready.

    HAProxy is the last: it regards a gateway as ready until a check has failed. If it runs already, a gateway
    is ready only when HAProxy sends it requests.

    Raises StackError, with the end of its log, for a process that isn't ready after START_SECONDS, or ends.
    """
    supervisor = StackSupervisor(config)
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        first, last = (MONGODB, VALKEY), (LOAD_BALANCER,)
        for stage in (
            [name for name in names if name in first],
            [name for name in names if name not in first + last],
            [name for name in names if name in last],
        ):
            tasks = {name: progress.add_task(name, total=1) for name in stage}
            for name in stage:
                supervisor.start(name)
            _wait(config, supervisor, progress, tasks)
    if config.balanced and LOAD_BALANCER not in names and any(map(is_gateway, names)):
        time.sleep(load_balancer.NOTICE_SECONDS)


def is_ready(config: StackConfig, name: str) -> bool:
    """Whether a process serves requests: /readyz returns 200, MongoDB accepts writes, Valkey answers PING."""
    if name == MONGODB:
        return mongodb.is_ready(config)
    if name == VALKEY:
        return valkey.is_ready(config)
    if name == LOAD_BALANCER:
        # It is ready without a gateway too: /readyz would be a gateway's.
        return all(map(procfs.accepts_connections, config.ports_of(name)))
    port, *others = config.ports_of(name)
    connection: http.client.HTTPConnection
    if is_gateway(name) and config.tls and not config.balanced:
        context = ssl.create_default_context()
        # The certificate isn't for the loopback address.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(HOST, port, timeout=2.0, context=context)
    else:
        connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return status == 200 and all(map(procfs.accepts_connections, others))


def is_running(config: StackConfig, process: Process) -> bool:
    """Whether a process runs. supervisor reports STARTING for some seconds after a process is ready."""
    return process.state == "RUNNING" or (process.state == "STARTING" and is_ready(config, process.name))


def log_end(config: StackConfig, name: str, lines: int = 15) -> str:
    """The last lines of a process's log. The middle of a line of more than MOST_CHARACTERS is left out."""
    try:
        found = config.log(name).read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return "(it has no log)"
    return "\n".join(
        line if len(line) <= MOST_CHARACTERS else f"{line[:120]} … {line[-460:]}" for line in found
    )


def _wait(
    config: StackConfig, supervisor: StackSupervisor, progress: Progress, tasks: Mapping[str, TaskID]
) -> None:
    waiting = list(tasks)
    pids: dict[str, set[int]] = {name: set() for name in tasks}
    deadline = time.monotonic() + START_SECONDS
    while waiting:
        for name in [name for name in waiting if is_ready(config, name)]:
            waiting.remove(name)
            progress.update(tasks[name], completed=1)
        found = supervisor.processes()
        for name in waiting:
            pids[name].add(found[name].pid)
            # The pid is 0 between two attempts. A second pid means that the first process has ended.
            if found[name].is_stopped or len(pids[name] - {0}) > 1 or time.monotonic() > deadline:
                raise StackError(f"{name} doesn't start. The end of its log:\n{log_end(config, name)}")
        time.sleep(0.1)
