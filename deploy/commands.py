"""up, down, start, stop, restart, status: what an operator does to the stack."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy import mongodb, procfs
from deploy.config import HOST, ROOT, StackConfig, StackError
from deploy.supervisor import Process, Supervisor, kill_orphans, stack_lock
from protocols.topology import API_GATEWAY, MONGODB, PORTS, PROCESSES

PATIENCE = 60.0
"""Seconds a process may take until it is ready."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def up(layout: StackConfig) -> None:
    """Start what doesn't run yet and wait until all of it is ready."""
    with stack_lock(layout):
        supervisor = Supervisor(layout)
        if supervisor.is_alive():
            layout = layout.saved()
        else:
            for line in kill_orphans(layout):
                console.print(f"Ended what an earlier run had left ({line})")
            check_breakers()
            check_ports(layout)
            supervisor.launch()
        supervisor = Supervisor(layout)
        _start(layout, supervisor, layout.processes)
    show_where(layout)


def down(layout: StackConfig) -> None:
    """End everything. Clients first, so that nobody sees a half of the stack; then whoever is left."""
    with stack_lock(layout):
        layout = layout.saved()
        supervisor = Supervisor(layout)
        was_up = supervisor.is_alive()
        if was_up:
            with console.status("Ending the stack"):
                supervisor.stop(*(name for name in layout.processes if name != MONGODB))
                if layout.own_mongod:
                    supervisor.stop(MONGODB)
                supervisor.shut_down()
        left = kill_orphans(layout)
    for line in left if not was_up else []:
        console.print(f"Ended what had been left ({line})")
    console.print("The stack is down." if was_up or left else "The stack was not up.")


def start(layout: StackConfig, name: str) -> None:
    """Start one process and wait until it is ready."""
    with stack_lock(layout):
        layout = _running(layout, name)
        supervisor = Supervisor(layout)
        if supervisor.processes()[name].is_stopped:
            check_ports(layout, name)
        _start(layout, supervisor, (name,))


def stop(layout: StackConfig, name: str) -> None:
    """Stop one process. It stays down until it is started; its ports refuse connections."""
    ports = _stop(layout, name)
    console.print(f"{name} is stopped: {ports} refused. `uv run just start {name}` brings it back.")


def restart(layout: StackConfig, name: str) -> None:
    """Stop one process, and start it again."""
    _stop(layout, name)
    start(layout, name)


def _stop(layout: StackConfig, name: str) -> str:
    """Stop one process, make sure of it, and tell what refuses connections now."""
    with stack_lock(layout):
        layout = _running(layout, name)
        with console.status(f"Stopping {name}"):
            Supervisor(layout).stop(name)
        for port in layout.ports_of(name):
            if procfs.answers(port):
                raise StackError(f"port {port} still answers; it is held by {procfs.holder(port)}")
    return "connections to " + " and ".join(f"{HOST}:{port}" for port in layout.ports_of(name)) + " are"


def status(layout: StackConfig) -> bool:
    """Show each process; whether all of them run."""
    layout = layout.saved()
    supervisor = Supervisor(layout)
    if not supervisor.is_alive():
        console.print("The stack is down. `uv run just up` starts it.")
        return False
    table = Table("process", "state", "pid", "for", "ports", box=None, pad_edge=False)
    found = supervisor.processes()
    for name, process in found.items():
        running = is_running(layout, process)
        ports = ", ".join(map(str, layout.ports_of(name)))
        colour = "green" if running else "red"
        lasted = _age(time.time() - process.since) if running else process.note
        state = "RUNNING" if running else process.state
        table.add_row(name, f"[{colour}]{state}[/]", str(process.pid or "–"), lasted, ports)
    if not layout.own_mongod:
        table.add_row(MONGODB, "elsewhere", "–", "", "MONGODB_URI")
    console.print(table)
    return all(is_running(layout, process) for process in found.values())


def clean_db(layout: StackConfig, *, yes: bool) -> None:
    """Delete all users, schools and students, after asking."""
    layout = layout.saved()
    where = f"in {layout.data}" if layout.own_mongod else "at MONGODB_URI"
    if not yes and not _agreed(f"Delete all data {where}? Type yes: "):
        raise StackError("nothing was deleted; --yes doesn't ask")
    with stack_lock(layout):
        supervisor = Supervisor(layout)
        if not supervisor.is_alive():
            kill_orphans(layout)  # a mongod that was left behind must not go on writing what is deleted
        found = supervisor.processes() if supervisor.is_alive() else {}
        running = [name for name, process in found.items() if not process.is_stopped]
        if layout.own_mongod and MONGODB not in running:
            shutil.rmtree(layout.data, ignore_errors=True)
            layout.data.mkdir(parents=True)
        else:
            mongodb.drop(mongodb.own_uri(layout) if layout.own_mongod else layout.mongodb_uri)
        # The services make their indexes when they start; without them nothing is unique.
        if services := [name for name in running if name.endswith("-service")]:
            supervisor.stop(*services)
            _start(layout, supervisor, services)
    console.print("All data is deleted.")


def _agreed(question: str) -> bool:
    try:
        return console.input(question).strip() == "yes"
    except EOFError:
        console.print()
        return False


def check_breakers() -> None:
    """Raise StackError where the processes would refuse the policies, and show what they would warn about."""
    from runtime.config.policies import BadConfiguration
    from runtime.config.policy_file import load_configuration

    path = ROOT / os.environ.get("CIRCUIT_BREAKERS", "breakers.toml")
    try:
        found = load_configuration(path, os.environ.get("CIRCUIT_BREAKER_PROFILE"))
    except BadConfiguration as error:
        raise StackError(str(error)) from error
    for warning in found.warnings:
        console.print(f"[yellow]{warning}[/]")


def check_ports(layout: StackConfig, *names: str) -> None:
    """Raise StackError naming each port that is taken, its setting, and by whom it is."""
    taken = [
        f"port {port} ({setting}, for {owner}) is taken by {procfs.holder(port)}"
        for setting, (owner, _) in PORTS.items()
        if owner in (names or layout.processes) and not procfs.is_free(port := layout.ports[setting])
    ]
    if taken:
        raise StackError("\n".join([*taken, "End it, or choose another port by the setting named."]))


def show_where(layout: StackConfig) -> None:
    """Where things are, and what to try next."""
    gateway = layout.gateway
    console.print(
        f"\n[bold green]The stack is up.[/]\n\n"
        f"  gateway    {gateway}          API pages: {gateway}/docs\n"
        f"  health     {gateway}/health   metrics: {gateway}/metrics\n"
        f"  logs       {layout.logs}/\n"
        f"  breakers   breakers.toml\n\n"
        "Try next:\n"
        "  uv run just watch              the breakers, live\n"
        "  uv run just stop auth-service  break something; uv run just start auth-service mends it\n"
        "  uv run just demo               the whole walk-through, told step by step (on ports of its own)\n"
        "  uv run just down               end everything"
    )


def ready(layout: StackConfig, name: str) -> bool:
    """Whether a process does its work now."""
    if name == MONGODB:
        return mongodb.is_ready(layout)
    port, *others = layout.ports_of(name)
    connection: http.client.HTTPConnection
    if name == API_GATEWAY and layout.tls:
        context = ssl.create_default_context()
        # The certificate is for another name than the loopback address.
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
    return status == 200 and all(map(procfs.answers, others))


def is_running(layout: StackConfig, process: Process) -> bool:
    """Whether it runs; supervisor itself waits a while before it says so of a new one."""
    return process.state == "RUNNING" or (process.state == "STARTING" and ready(layout, process.name))


def require_process(layout: StackConfig, name: str) -> None:
    """Raise StackError for a name that isn't one of this stack's processes."""
    if name not in PROCESSES:
        raise StackError(f"there is no process {name!r}; one of: {', '.join(PROCESSES)}")
    if name not in layout.processes:
        raise StackError(f"{name} isn't run by this stack: MONGODB_URI says it is elsewhere")


def _running(layout: StackConfig, name: str) -> StackConfig:
    layout = layout.saved()
    require_process(layout, name)
    if not Supervisor(layout).is_alive():
        raise StackError("the stack isn't up; `uv run just up` starts it")
    return layout


def _start(layout: StackConfig, supervisor: Supervisor, names: Sequence[str]) -> None:
    """Start processes, the database before the others, and show until each is ready."""
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for stage in ([n for n in names if n == MONGODB], [n for n in names if n != MONGODB]):
            tasks = {name: progress.add_task(name, total=1) for name in stage}
            for name in stage:
                supervisor.start(name)
            _wait(layout, supervisor, progress, tasks)


def _wait(
    layout: StackConfig, supervisor: Supervisor, progress: Progress, tasks: Mapping[str, TaskID]
) -> None:
    waiting = list(tasks)
    tries: dict[str, set[int]] = {name: set() for name in tasks}
    deadline = time.monotonic() + PATIENCE
    while waiting:
        for name in [name for name in waiting if ready(layout, name)]:
            waiting.remove(name)
            progress.update(tasks[name], completed=1)
        found = supervisor.processes()
        for name in waiting:
            tries[name].add(found[name].pid)
            # Zero is no pid: it is between two tries. One that ended at once tells enough.
            if found[name].is_stopped or len(tries[name] - {0}) > 1 or time.monotonic() > deadline:
                raise StackError(f"{name} doesn't start. The end of its log:\n{tail(layout, name)}")
        time.sleep(0.1)


def tail(layout: StackConfig, name: str, lines: int = 15) -> str:
    """The last lines of a process's log, the long ones cut: a traceback may be one line of JSON."""
    try:
        found = layout.log(name).read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return "(there is none)"
    return "\n".join(line if len(line) <= 600 else f"{line[:120]} … {line[-460:]}" for line in found)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
