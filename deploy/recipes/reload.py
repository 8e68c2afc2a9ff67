"""`just reload`: all running processes read breakers.toml again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from deploy import commands, environments
from deploy.config import StackConfig, StackError
from deploy.supervisor import StackSupervisor
from deploy.terminal.logs import Tail
from protocols.topology import API_GATEWAY

CONFIRM_SECONDS = 10.0
"""Seconds that a process may take to log the result."""
# The events of runtime/config/reload.py; a process logs one of them after each SIGHUP.
READ_AGAIN = "the policies are read again"
UNUSABLE = "the policies can't be used"


def reload(config: StackConfig) -> bool:
    """Give the breakers of all running processes the policies of breakers.toml.

    Returns whether every process confirms it in its log. Raises StackError, with file, key and reason, if the
    file can't be used: then nothing has changed.
    """
    config = config.saved()
    supervisor = StackSupervisor(config)
    if not supervisor.is_alive():
        raise StackError("the stack isn't up; start it with `uv run just up`")
    # The file and the profile that the processes were started with, not those of this shell.
    commands.check_breakers(environments.read(config, API_GATEWAY) or os.environ)
    found = supervisor.processes()
    running = [name for name in environments.python_processes(config) if not found[name].is_stopped]
    tails = {name: Tail(config.log(name)) for name in running}
    for name in running:
        supervisor.hang_up(name)
    missing = _confirmed(tails)
    for name in running:
        if name not in missing:
            commands.console.print(f"{name} has read the policies again.")
    for name in missing:
        commands.console.print(
            f"[red]{name} hasn't confirmed it in {CONFIRM_SECONDS:.0f} s[/]; see `uv run just logs {name}`"
        )
    return not missing


def _confirmed(tails: Mapping[str, Tail]) -> Sequence[str]:
    """Wait until each process has logged that it has read the file; return the names of those that haven't.

    Raises StackError if one of them refuses the file.
    """
    missing = list(tails)
    deadline = time.monotonic() + CONFIRM_SECONDS
    while missing and time.monotonic() < deadline:
        for name in list(missing):
            lines = list(tails[name].lines())
            if refused := [line for line in lines if UNUSABLE in line]:
                raise StackError(f"{name} refuses the file: {refused[0]}")
            if any(READ_AGAIN in line for line in lines):
                missing.remove(name)
        time.sleep(0.05)
    return missing
