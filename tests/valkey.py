"""A real Valkey for tests: on a free port, with a password; it can be killed, frozen and emptied.

Every method blocks, for some 50 ms at most if it starts a server. Tests on trio call them directly: a
blocking call doesn't let a MockClock jump. Start a server in the main thread: it dies with its thread.
"""

from __future__ import annotations

import ctypes
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.config import HOST
from deploy.demo.ephemeral_stack import free_ports
from deploy.programs import valkey

PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # A test run that is killed can't end its server.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running_valkey() -> Iterator[ValkeyServer]:
    """Run a Valkey during the block; it is ended also after a failure, and while it is frozen.

    Raises StackError if there is no valkey-server.
    """
    with TemporaryDirectory(prefix="valkey-") as folder:
        server = ValkeyServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class ValkeyServer:
    """One valkey-server of the kind that `just up` starts. Its port and password stay the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of VALKEY_URL: valkey://:PASSWORD@127.0.0.1:PORT/0."""
        return f"valkey://:{self.password}@{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The pid. Raises RuntimeError if the server doesn't run."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("Valkey isn't running")
        return self._process

    def start(self, timeout: float = 10.0) -> None:
        """Start it, empty, and wait until it answers. Raises RuntimeError after `timeout` seconds."""
        if self._process is not None:
            raise RuntimeError("Valkey is running already")
        configuration = valkey.write_configuration(self.folder, self.port, self.password)
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                valkey.command(configuration),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        give_up = time.monotonic() + timeout
        while not valkey.answers(self.port, self.password):
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"Valkey doesn't start:\n{self.log()}")
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill it with SIGKILL, also while it is frozen, and wait until it has ended. Its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, and start an empty one on the same port with the same password."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it without closing its connections (SIGSTOP): it accepts connections, and answers nothing."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it after a freeze (SIGCONT)."""
        self._running.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Delete all keys; connections, scripts and functions stay."""
        self.command("FLUSHALL")

    def log(self) -> str:
        """Everything that it has logged, also before a restart."""
        return (self.folder / "valkey.log").read_text(errors="replace")

    def command(self, *words: str, timeout: float = 2.0) -> str:
        """Send one command on a new connection, and return the raw reply without its final line break.

        Raises RuntimeError for an error reply, and OSError without a reply within `timeout` seconds.
        """
        with socket.create_connection((HOST, self.port), timeout=timeout) as connection:
            connection.sendall(_encoded("AUTH", self.password) + _encoded(*words) + _encoded("QUIT"))
            received = b""
            while more := connection.recv(65536):
                received += more
        reply = received.decode(errors="replace").removeprefix("+OK\r\n").removesuffix("+OK\r\n")
        if reply.startswith("-"):
            raise RuntimeError(reply.strip())
        return reply.removesuffix("\r\n")


def _encoded(*words: str) -> bytes:
    """A command as Valkey's protocol has it."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in map(str.encode, words):
        parts += [b"$%d\r\n" % len(word), word, b"\r\n"]
    return b"".join(parts)
