"""The operator's commands: up, down, start, stop, restart, status, clean-db.

Each raises StackError, with a message for the operator, if it can't be carried out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from deploy import procfs, startup
from deploy.config import HOST, ROOT, StackConfig, StackError, ValkeyPlace
from deploy.credentials import private_files
from deploy.programs import mongodb
from deploy.supervisor import Process, StackSupervisor, kill_orphans, stack_lock
from deploy.terminal.formatting import duration
from protocols.topology import MONGODB, VALKEY, gateway_names

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def up(config: StackConfig) -> None:
    """Start all processes that don't run, and wait until they are ready."""
    with stack_lock(config):
        supervisor = StackSupervisor(config)
        if supervisor.is_alive():
            config = config.saved()
        else:
            _end_orphans(config)
            check_breakers()
            check_ports(config)
            supervisor.launch()
        startup.start(config, config.processes, console)
    print_addresses(config)


def down(config: StackConfig) -> None:
    """End all processes: the stores after the others, then supervisord, then what has no supervisor."""
    with stack_lock(config):
        config = config.saved()
        supervisor = StackSupervisor(config)
        was_up = supervisor.is_alive()
        if was_up:
            with console.status("Stopping all processes"):
                stores = [name for name in config.processes if name in (MONGODB, VALKEY)]
                supervisor.stop(*(name for name in config.processes if name not in stores))
                supervisor.stop(*stores)
                supervisor.shut_down()
            kill_orphans(config)
        had_orphans = not was_up and _end_orphans(config)
    console.print("The stack is down." if was_up or had_orphans else "The stack was not up.")


def start(config: StackConfig, name: str) -> None:
    """Start one process, and wait until it is ready."""
    with stack_lock(config):
        config = _config_of_running_stack(config, name)
        if StackSupervisor(config).processes()[name].is_stopped:
            check_ports(config, name)
        startup.start(config, (name,), console)


def stop(config: StackConfig, name: str) -> None:
    """Stop one process. It stays stopped until `start`; its ports refuse connections."""
    _stop(config, name)
    ports = " and ".join(f"{HOST}:{port}" for port in config.saved().ports_of(name))
    console.print(
        f"{name} is stopped. {ports} now refuse{'' if ' and ' in ports else 's'} connections. "
        f"Start it again with `uv run just start {name}`."
    )


def restart(config: StackConfig, name: str) -> None:
    """Stop one process, and start it again."""
    _stop(config, name)
    start(config, name)


def _stop(config: StackConfig, name: str) -> None:
    """Raises StackError if one of the process's ports still accepts connections afterwards."""
    with stack_lock(config):
        config = _config_of_running_stack(config, name)
        with console.status(f"Stopping {name}"):
            StackSupervisor(config).stop(name)
        for port in config.ports_of(name):
            if procfs.accepts_connections(port):
                raise StackError(f"port {port} still accepts connections: {procfs.holder(port)}")


def status(config: StackConfig) -> bool:
    """Print a table of the processes. Returns whether all of them run."""
    config = config.saved()
    supervisor = StackSupervisor(config)
    if not supervisor.is_alive():
        console.print("The stack is down. Start it with `uv run just up`.")
        return False
    table = Table("process", "state", "pid", "for", "ports", box=None, pad_edge=False)
    processes = supervisor.processes()
    for name, process in processes.items():
        running = startup.is_running(config, process)
        state, colour = ("RUNNING", "green") if running else (process.state, "red")
        ports = ", ".join(map(str, config.ports_of(name)))
        table.add_row(
            name, f"[{colour}]{state}[/]", str(process.pid or "–"), _since(process, running=running), ports
        )
    if not config.own_mongod:
        table.add_row(MONGODB, "elsewhere", "–", "", "MONGODB_URI")
    if not config.own_valkey:
        place = "elsewhere" if config.valkey == ValkeyPlace.ELSEWHERE else "none, nothing is shared"
        table.add_row(VALKEY, place, "–", "", "VALKEY_URL")
    console.print(table)
    return all(startup.is_running(config, process) for process in processes.values())


def _since(process: Process, *, running: bool) -> str:
    """The time in this state; supervisor's description if the process has failed to start."""
    if running or process.state in ("STOPPED", "EXITED"):
        return duration(time.time() - process.since) if process.since else "never started"
    return process.note


def clean_db(config: StackConfig, *, yes: bool) -> None:
    """Delete all users, schools and students. yes: don't ask first."""
    config = config.saved()
    place = f"in {config.data}" if config.own_mongod else "at MONGODB_URI"
    if not yes and not _confirm(f"Delete all data {place}? Type yes: "):
        raise StackError("nothing was deleted; --yes deletes without asking")
    with stack_lock(config):
        supervisor = StackSupervisor(config)
        if not supervisor.is_alive():
            kill_orphans(config)  # an orphaned mongod would go on writing the files that are deleted
        found = supervisor.processes() if supervisor.is_alive() else {}
        running = [name for name, process in found.items() if not process.is_stopped]
        if config.own_mongod and MONGODB not in running:
            shutil.rmtree(config.data, ignore_errors=True)
            private_files.make_folder(config.data)
        else:
            mongodb.drop(mongodb.own_uri(config) if config.own_mongod else config.mongodb_uri)
        # The services create their unique indexes when they start.
        if services := [name for name in running if name.endswith("-service")]:
            supervisor.stop(*services)
            startup.start(config, services, console)
    console.print("All data is deleted.")


def _confirm(question: str) -> bool:
    try:
        return console.input(question).strip() == "yes"
    except EOFError:
        console.print()
        return False


def check_breakers(environment: Mapping[str, str] = os.environ) -> None:
    """Read the breakers' policies as the processes do, and print the warnings. Raises StackError."""
    from runtime.config.policies import BadConfiguration
    from runtime.config.policy_file import load_configuration

    path = ROOT / environment.get("CIRCUIT_BREAKERS", "breakers.toml")
    try:
        found = load_configuration(path, environment.get("CIRCUIT_BREAKER_PROFILE"))
    except BadConfiguration as error:
        raise StackError(str(error)) from error
    for warning in found.warnings:
        console.print(f"[yellow]{warning}[/]")


def check_ports(config: StackConfig, *names: str) -> None:
    """Raise StackError if a port is taken: with its setting and its holder. names: processes; default all."""
    taken = [
        f"port {one.port} ({one.setting}, for {one.process}) is taken by {procfs.holder(one.port)}"
        for one in config.listeners()
        if one.process in (names or config.processes) and not procfs.is_free(one.port)
    ]
    if taken:
        raise StackError("\n".join([*taken, "End that process, or choose another port with the setting."]))


def print_addresses(config: StackConfig) -> None:
    """Print the stack's addresses and files, and some commands to try."""
    gateway, operations = config.gateway, config.operations
    console.print(
        f"\n[bold green]The stack is up.[/]\n\n"
        f"  gateway    {gateway}          API pages: {operations}/docs\n"
        f"{_gateways(config)}"
        f"  dashboard  {operations}/dashboard\n"
        f"  health     {operations}/health   metrics: {operations}/metrics\n"
        f"  sharing    {_sharing(config)}\n"
        f"  logs       {config.logs}/\n"
        f"  breakers   breakers.toml; after a change: uv run just reload\n"
        f"  by hand    {_by_hand(config)}\n\n"
        "Try next:\n"
        "  uv run just watch               show the breakers live\n"
        "  uv run just stop auth-service   stop a service: its breaker opens\n"
        "  uv run just start auth-service  start it again: its breaker closes\n"
        "  uv run just demo                show three outages step by step, on a stack of its own\n"
        "  uv run just down                stop everything"
    )


def _by_hand(config: StackConfig) -> str:
    """How to run one process by hand, with its settings and credentials."""
    file = shlex.quote(str(config.environment_file("auth-service")))
    return f"set -a; . {file}; uv run python -m services.auth   (each process has its file)"


def _gateways(config: StackConfig) -> str:
    """The line about the gateways behind GATEWAY_PORT or beside it; empty with one gateway."""
    if config.gateways == 1:
        return ""
    ports = ", ".join(f"{config.ports_of(name)[0]} ({name})" for name in gateway_names(config.gateways))
    how = "behind HAProxy, on" if config.balanced else "without a load balancer (haproxy isn't installed), on"
    return f"  gateways   {config.gateways} {how} the ports {ports}\n"


def _sharing(config: StackConfig) -> str:
    """Where breakers are shared."""
    if config.own_valkey:
        return f"breakers are shared through Valkey at {HOST}:{config.ports['VALKEY_PORT']}"
    if config.valkey == ValkeyPlace.ELSEWHERE:
        return "breakers are shared through the Valkey of VALKEY_URL"
    return "nothing is shared: every process decides alone, since VALKEY_URL is empty"


def require_process(config: StackConfig, name: str) -> None:
    """Raise StackError for a name that isn't one of this stack's processes."""
    if name in config.processes:
        return
    elsewhere = {MONGODB: "MONGODB_URI is set", VALKEY: "VALKEY_URL is set"}
    if name in elsewhere:
        raise StackError(f"this stack doesn't run {name}: {elsewhere[name]}")
    raise StackError(f"there is no process {name!r}; one of: {', '.join(config.processes)}")


def _config_of_running_stack(config: StackConfig, name: str) -> StackConfig:
    config = config.saved()
    require_process(config, name)
    if not StackSupervisor(config).is_alive():
        raise StackError("the stack isn't up; start it with `uv run just up`")
    return config


def _end_orphans(config: StackConfig) -> bool:
    """End and print the processes of an earlier run without a supervisor. Returns whether there were any."""
    ended = kill_orphans(config)
    for process in ended:
        console.print(f"Ended a process of an earlier run ({process})")
    return bool(ended)
