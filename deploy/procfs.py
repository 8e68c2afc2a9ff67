"""Processes and ports, read from /proc: the holder of a port, and the orphans of a stack."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.config import HOST, MARK

_LISTEN = "0A"


@dataclass(frozen=True)
class Holder:
    """The process that holds a port. pid: None if /proc doesn't show it (another user's, another host's)."""

    pid: int | None
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid}: {self.command}" if self.pid else self.command


def is_free(port: int) -> bool:
    """Whether a server can listen on the port now. Raises OSError for other reasons than a taken port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def accepts_connections(port: int) -> bool:
    """Whether a process accepts connections on the port. Takes at most 1 s."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def holder(port: int) -> Holder:
    """The process that holds the port."""
    inodes = _inodes(port)
    for pid in pids():
        if inodes & _sockets(pid):
            return Holder(pid, command_of(pid))
    return Holder(None, "a process that /proc doesn't show")


def pids() -> Iterator[int]:
    """The pids of all processes. Yields none if there is no /proc (not Linux)."""
    try:
        entries = list(Path("/proc").iterdir())
    except FileNotFoundError:
        return
    yield from (int(entry.name) for entry in entries if entry.name.isdecimal())


def command_of(pid: int) -> str:
    """The command line of a process; its kernel name if the command line is empty."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return (
            b" ".join(words).decode(errors="replace").strip() or Path(f"/proc/{pid}/comm").read_text().strip()
        )
    except OSError:
        return "a process that has just ended"


def processes_of(folder: Path) -> list[int]:
    """The pids of all running processes that were started for the stack in this folder."""
    return [pid for pid in pids() if _mark(folder) in _environ(pid) and not _is_zombie(pid)]


def end_processes(folder: Path, patience: float = 12.0) -> list[int]:
    """End all processes of the stack in this folder: SIGTERM, and SIGKILL after `patience` seconds.

    Returns the pids that were signalled.
    """
    ended: set[int] = set()
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while (found := processes_of(folder)) and time.monotonic() < deadline:
            for pid in set(found) - signalled:
                _signal(folder, pid, sign)
            signalled.update(found)
            time.sleep(0.1)
        ended |= signalled
    return sorted(ended)


def _signal(folder: Path, pid: int, sign: signal.Signals) -> None:
    """Signal a process of the stack in this folder; not one that has got the pid of such a process."""
    try:
        # The descriptor stays with the process that is looked at, also when it has ended.
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _mark(folder) in _environ(pid):
            signal.pidfd_send_signal(descriptor, sign)
    except ProcessLookupError:
        pass  # it has ended meanwhile
    finally:
        os.close(descriptor)


def _mark(folder: Path) -> bytes:
    return f"{MARK}={folder}".encode(errors="surrogateescape")


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _inodes(port: int) -> set[str]:
    """The inodes of the listening sockets on a port; of all its sockets if none listens."""
    listening: set[str] = set()
    others: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if int(fields[1].rpartition(":")[2], 16) == port:
                (listening if fields[3] == _LISTEN else others).add(fields[9])
    return listening or others - {"0"}


def _sockets(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        pass  # another user's process, or one that has ended
    return found
