"""supervisord: its configuration, its start, and the calls it answers."""

from __future__ import annotations

import fcntl
import math
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy import libraries, mongodb, procfs
from deploy.config import ROOT, StackConfig, StackError, command
from protocols.topology import MONGODB

_NOT_RUNNING = 70
_ALREADY_STARTED = 60
STOPPED_STATES = ("STOPPED", "EXITED", "FATAL")

_SERVER = """\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={folder}/supervisord.pid
directory={root}
nodaemon=false
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# startsecs is above the time a process takes to find that its settings are bad, and stopwaitsecs above the
# time that a process may take to finish what is in flight.
_STOP_SLACK = 2.0
_PROGRAM = """\
[program:{name}]
command={command}
directory={root}
autostart=false
autorestart=true
startsecs=3
startretries=5
stopsignal=TERM
stopwaitsecs={patience}
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
"""


@dataclass(frozen=True)
class Process:
    """One process as supervisor sees it. since: Unix seconds."""

    name: str
    state: str
    pid: int
    since: float
    note: str

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs, and nothing will be started by itself."""
        return self.state in STOPPED_STATES


def render(layout: StackConfig, for_mongod: Mapping[str, str] | None = None) -> str:
    """supervisord's configuration. Nothing starts by itself: `up` sees to the order.

    for_mongod: variables that mongod gets, and no other process.
    """
    folders = {"root": ROOT, "folder": layout.folder, "logs": layout.logs, "socket": layout.socket}
    values = {"patience": stop_seconds(), **folders}
    parts = [_SERVER.format(**_escaped(values))]
    for name in layout.processes:
        words = mongodb.command(layout) if name == MONGODB else command(name)
        parts.append(_PROGRAM.format(**_escaped({**values, "name": name, "command": shlex.join(words)})))
        if name == MONGODB:
            parts[-1] += _environment(for_mongod or {})
        elif "JWKS_CACHE" not in os.environ:
            # A cache for each process: each replaces its own file, whatever the others do.
            parts[-1] += _environment({"JWKS_CACHE": str(layout.folder / f"jwks-{name}.json")})
    return "\n".join(parts)


def stop_seconds(environment: Mapping[str, str] = os.environ) -> int:
    """How long a process may take to stop: SHUTDOWN_DELAY, then SHUTDOWN_GRACE or what stands for it."""

    def seconds(name: str, default: float) -> float:
        try:
            return max(0.0, min(float(environment.get(name) or default), 3600.0))
        except ValueError:
            return default  # the processes say so themselves

    grace = seconds("SHUTDOWN_GRACE", max(12.0, seconds("UPSTREAM_TIMEOUT", 10.0) + 2))
    return math.ceil(seconds("SHUTDOWN_DELAY", 0.0) + grace + _STOP_SLACK)


def _environment(variables: Mapping[str, str]) -> str:
    """The line of a program that adds to its environment; nothing where nothing is added."""
    words = (f'{name}="{value}"' for name, value in _escaped(dict(variables)).items())
    return f"environment={','.join(words)}\n" if variables else ""


def _escaped(values: dict[str, Any]) -> dict[str, str]:
    return {key: str(value).replace("%", "%%") for key, value in values.items()}


class Supervisor:
    """The running supervisord of a stack. Its methods raise StackError where there is none."""

    def __init__(self, layout: StackConfig) -> None:
        self._layout = layout

    @property
    def _rpc(self) -> Any:
        # A connection for each call: supervisord may have been replaced since the last one.
        transport = SupervisorTransport(None, None, f"unix://{self._layout.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def is_alive(self) -> bool:
        """Whether it answers."""
        try:
            self._rpc.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def launch(self) -> None:
        """Start supervisord with the layout's configuration, in the background."""
        layout = self._layout
        for folder in (layout.folder, layout.logs, layout.data if layout.own_mongod else layout.logs):
            folder.mkdir(parents=True, exist_ok=True)
        _own(layout)
        for_mongod = (
            libraries.environment(mongodb.find_mongod(), layout.libraries) if layout.own_mongod else {}
        )
        layout.configuration.write_text(render(layout, for_mongod))
        words = [sys.executable, "-m", "supervisor.supervisord", "-c", str(layout.configuration)]
        done = subprocess.run(
            words, env=layout.environment(), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode or not _within(5.0, self.is_alive):
            said = (done.stderr or done.stdout).strip() or f"see {layout.logs}/supervisord.log"
            raise StackError(f"supervisor doesn't start: {said}")
        layout.save()

    def processes(self) -> dict[str, Process]:
        """All processes by name, in the order of the layout."""
        found = {info["name"]: info for info in self._call("getAllProcessInfo")}
        return {
            name: Process(name, info["statename"], info["pid"], info["start"], info["description"])
            for name in self._layout.processes
            if (info := found.get(name))
        }

    def start(self, name: str) -> None:
        """Have a process started; returns at once. One that runs is left alone."""
        self._call("startProcess", name, False, unless=_ALREADY_STARTED)

    def stop(self, *names: str) -> None:
        """Stop processes side by side, and wait until they have ended."""
        patience = stop_seconds() + 8.0
        for name in names:
            self._call("stopProcess", name, False, unless=_NOT_RUNNING)
        if not _within(
            patience, lambda: all(p.is_stopped for n, p in self.processes().items() if n in names)
        ):
            raise StackError(f"{', '.join(names)} didn't end within {patience:.0f} s")

    def shut_down(self) -> None:
        """End supervisord itself, which must have nothing left to do."""
        self._call("shutdown")
        _within(5.0, lambda: not self.is_alive())

    def _call(self, method: str, *arguments: Any, unless: int | None = None) -> Any:
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == unless:
                return None
            raise StackError(f"supervisor refuses {method} {arguments}: {fault.faultString}") from fault
        except OSError as error:
            raise StackError("the stack isn't up; `uv run just up` starts it") from error


@contextmanager
def stack_lock(layout: StackConfig) -> Iterator[None]:
    """One command at a time may change a stack; others wait."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    with (layout.folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kill_orphans(layout: StackConfig) -> list[str]:
    """End what an earlier run of this stack left without a supervisor; says what that was."""
    names = {pid: procfs.command_of(pid) for pid in procfs.left_over(layout.folder)}
    ended = procfs.end(layout.folder) if names else []
    return [f"pid {pid}: {names.get(pid, 'its child')}" for pid in ended]


def _own(layout: StackConfig) -> None:
    """Make the socket's folder, and refuse one that somebody else has put there."""
    folder = layout.socket.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder != layout.folder and folder.stat().st_uid != os.getuid():
        raise StackError(f"{folder} belongs to somebody else")


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
