"""What /proc tells: who holds a port, and which processes a stack left behind."""

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
    """A process that holds a port; pid is None where it can't be seen (another user's, another host's)."""

    pid: int | None
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid}: {self.command}" if self.pid else self.command


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
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


def answers(port: int) -> bool:
    """Whether somebody accepts connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def holder(port: int) -> Holder:
    """Who holds the port, as far as /proc lets us see."""
    inodes = _inodes(port)
    for pid in pids():
        if inodes & _sockets(pid):
            return Holder(pid, command_of(pid))
    return Holder(None, "a process that can't be seen from here")


def pids() -> Iterator[int]:
    """Every process of this machine."""
    try:
        entries = list(Path("/proc").iterdir())
    except FileNotFoundError:  # not Linux: nothing can be told
        return
    yield from (int(entry.name) for entry in entries if entry.name.isdecimal())


def command_of(pid: int) -> str:
    """The command line of a process, or what the kernel calls it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return (
            b" ".join(words).decode(errors="replace").strip() or Path(f"/proc/{pid}/comm").read_text().strip()
        )
    except OSError:
        return "a process that has just ended"


def left_over(folder: Path) -> list[int]:
    """The living processes that were started for the stack in this folder."""
    mark = f"{MARK}={folder}".encode()
    return [pid for pid in pids() if mark in _environ(pid) and not _is_zombie(pid)]


def end(folder: Path, patience: float = 12.0) -> list[int]:
    """End what the stack in this folder left: SIGTERM, and SIGKILL after `patience` seconds."""
    ended: set[int] = set()
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while (found := left_over(folder)) and time.monotonic() < deadline:
            for pid in set(found) - signalled:
                _signal(pid, sign)
            signalled.update(found)
            time.sleep(0.1)
        ended |= signalled
    return sorted(ended)


def _signal(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        pass  # it went by itself meanwhile


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
    """The sockets on a port: those that listen, or any where none does."""
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
        pass  # another user's, or gone
    return found
