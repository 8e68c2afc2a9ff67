"""supervisord: its configuration, its start, and calls to its XML-RPC API."""

from __future__ import annotations

import fcntl
import math
import os
import shlex
import stat
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy import environments, procfs
from deploy.config import ROOT, StackConfig, StackError
from deploy.credentials import private_files
from deploy.programs import gateways, libraries, mongodb, valkey
from protocols.topology import LOAD_BALANCER, MONGODB, VALKEY

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
umask=077
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# A process with invalid settings ends in less than startsecs. stopwaitsecs is longer than the time that a
# process may take to finish the requests in flight.
_STOP_SLACK = 2.0
_PROGRAM = """\
[program:{name}]
command={command}
directory={root}
autostart=false
autorestart=true
startsecs=3
startretries=5
stopsignal={stop_signal}
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
    """supervisor's view of one process.

    since: Unix seconds of the last start, or of the last stop if it is stopped; 0 if it was never started.
    note: supervisor's description of a process that isn't running.
    """

    name: str
    state: str
    pid: int
    since: float
    note: str

    @property
    def is_stopped(self) -> bool:
        """Whether it isn't running, and supervisor won't restart it."""
        return self.state in STOPPED_STATES


def _process(info: Mapping[str, Any]) -> Process:
    since = info["stop"] if info["statename"] in STOPPED_STATES else info["start"]
    return Process(info["name"], info["statename"], info["pid"], since, info["description"])


def render(config: StackConfig, for_mongod: Mapping[str, str] | None = None) -> str:
    """supervisord's configuration. It starts no process by itself: `up` starts them in order.

    for_mongod: environment variables of mongod alone.
    """
    folders = {"root": ROOT, "folder": config.folder, "logs": config.logs, "socket": config.socket}
    parts = [_SERVER.format(**_escaped(folders))]
    python = environments.python_processes(config)
    for name in config.processes:
        variables = _variables(name, for_mongod or {})
        settings = environments.settings_of(config, name) if name in python else {}
        values = {
            **folders,
            "name": name,
            "command": shlex.join(_command(config, name)),
            "patience": stop_seconds({**os.environ, **settings}),
            # HAProxy finishes the requests in flight after SIGUSR1, and none after SIGTERM.
            "stop_signal": "USR1" if name == LOAD_BALANCER else "TERM",
        }
        parts.append(_PROGRAM.format(**_escaped(values)) + _environment(variables))
    return "\n".join(parts)


def _command(config: StackConfig, name: str) -> list[str]:
    if name == MONGODB:
        return mongodb.command(config)
    if name == VALKEY:
        return valkey.command(config.valkey_folder / valkey.CONFIGURATION)
    if name == LOAD_BALANCER:
        return gateways.balancer_command(config)
    return environments.python_command(config, name)


def _variables(name: str, for_mongod: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of a process that isn't Python's. They are no secrets: supervisor shows them."""
    if name == VALKEY:
        return {"TZ": "UTC0"}  # the times in its log have no zone
    return for_mongod if name == MONGODB else {}


def stop_seconds(environment: Mapping[str, str] = os.environ) -> int:
    """Seconds that a process may take to stop: SHUTDOWN_DELAY, then SHUTDOWN_GRACE or its default."""

    def seconds(name: str, default: float) -> float:
        try:
            return max(0.0, min(float(environment.get(name) or default), 3600.0))
        except ValueError:
            return default  # the processes report the invalid value

    grace = seconds("SHUTDOWN_GRACE", max(12.0, seconds("UPSTREAM_TIMEOUT", 10.0) + 2))
    return math.ceil(seconds("SHUTDOWN_DELAY", 0.0) + grace + _STOP_SLACK)


def _environment(variables: Mapping[str, str]) -> str:
    """The `environment=` line of a program; empty without variables."""
    words = (f'{name}="{value}"' for name, value in _escaped(dict(variables)).items())
    return f"environment={','.join(words)}\n" if variables else ""


def _escaped(values: dict[str, Any]) -> dict[str, str]:
    return {key: str(value).replace("%", "%%") for key, value in values.items()}


class StackSupervisor:
    """A client of a stack's supervisord. Except for `is_alive` and `launch`, all methods need a running one.

    Raises StackError if it isn't running, or refuses a call.
    """

    def __init__(self, config: StackConfig) -> None:
        self._config = config

    @property
    def _rpc(self) -> Any:
        _check_socket(self._config)
        # A new connection per call: supervisord may have been restarted since the last one.
        transport = SupervisorTransport(None, None, f"unix://{self._config.socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def is_alive(self) -> bool:
        """Whether supervisord answers. Raises StackError if its socket may be another user's."""
        try:
            self._rpc.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def launch(self) -> None:
        """Start supervisord in the background, and save the stack's configuration.

        Raises StackError if supervisord doesn't answer within 5 s.
        """
        config = self._config
        for folder in (config.folder, config.logs, config.data if config.own_mongod else config.logs):
            private_files.make_folder(folder)
        private_files.close_to_others(config.folder)  # an earlier version left it open
        private_files.make_folder(config.socket.parent)
        for_mongod = (
            libraries.environment(mongodb.find_mongod(), config.libraries) if config.own_mongod else {}
        )
        environments.write(config)
        if config.balanced:
            gateways.write_balancer_configuration(config)
        private_files.write(config.configuration, render(config, for_mongod))
        words = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config.configuration)]
        done = subprocess.run(
            words,
            env=environments.shared(config),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
        )
        if done.returncode or not _wait_for(5.0, self.is_alive):
            reason = (done.stderr or done.stdout).strip() or f"see {config.logs}/supervisord.log"
            raise StackError(f"supervisor doesn't start: {reason}")
        config.save()

    def processes(self) -> dict[str, Process]:
        """All processes by name, in the order of the configuration."""
        found = {info["name"]: info for info in self._call("getAllProcessInfo")}
        return {name: _process(info) for name in self._config.processes if (info := found.get(name))}

    def start(self, name: str) -> None:
        """Start a process, and don't wait until it is ready. Does nothing if it runs."""
        self._call("startProcess", name, False, unless=_ALREADY_STARTED)

    def stop(self, *names: str) -> None:
        """Stop processes concurrently, and wait until they have ended. Raises StackError if they don't."""
        patience = stop_seconds() + 8.0
        for name in names:
            self._call("stopProcess", name, False, unless=_NOT_RUNNING)
        if not _wait_for(
            patience, lambda: all(p.is_stopped for n, p in self.processes().items() if n in names)
        ):
            raise StackError(f"{', '.join(names)} didn't end within {patience:.0f} s")

    def hang_up(self, name: str) -> None:
        """Send SIGHUP to a process: supervisor knows its own child, so no other process gets it."""
        self._call("signalProcess", name, "HUP")

    def shut_down(self) -> None:
        """End supervisord. Stop all processes first."""
        self._call("shutdown")
        _wait_for(5.0, lambda: not self.is_alive())

    def _call(self, method: str, *arguments: Any, unless: int | None = None) -> Any:
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == unless:
                return None
            raise StackError(f"supervisor refuses {method} {arguments}: {fault.faultString}") from fault
        except OSError as error:
            raise StackError("the stack isn't up; start it with `uv run just up`") from error


@contextmanager
def stack_lock(config: StackConfig) -> Iterator[None]:
    """Hold the stack's lock. Commands that change the stack run one at a time; others wait here."""
    private_files.make_folder(config.folder)
    with open(config.folder / "lock", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kill_orphans(config: StackConfig) -> list[str]:
    """End all processes of this stack that run without a supervisor. Returns "pid: command" of each."""
    names = {pid: procfs.command_of(pid) for pid in procfs.processes_of(config.folder)}
    ended = procfs.end_processes(config.folder) if names else []
    return [f"pid {pid}: {names.get(pid, 'a child process')}" for pid in ended]


def _check_socket(config: StackConfig) -> None:
    """Raise StackError if another user may have made supervisor's socket: the name under /tmp is known.

    A missing socket passes; connecting then fails.
    """
    folder = config.socket.parent
    # The stack's own folder may be a link to another disk.
    found = [
        (folder, folder.stat if folder == config.folder else folder.lstat),
        (config.socket, config.socket.lstat),
    ]
    for (path, look), is_kind, mode in zip(found, (stat.S_ISDIR, stat.S_ISSOCK), (0o022, 0o077), strict=True):
        try:
            status = look()
        except FileNotFoundError:
            return
        if status.st_uid != os.getuid() or status.st_mode & mode or not is_kind(status.st_mode):
            raise StackError(
                f"{path} isn't this user's alone, so what listens there isn't trusted: see who owns it"
            )


def _wait_for(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
