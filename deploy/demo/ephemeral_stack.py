"""A stack of one's own: free ports, a folder that goes away, short reset timeouts. For demo and tests."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from deploy import procfs
from deploy.config import LOOPBACK, ROOT, StackConfig, layout
from deploy.stack import main
from deploy.supervisor import Supervisor
from deploy.terminal.health import breakers
from protocols.topology import PORTS

_ADMIN = {
    "email": "head@example.org",
    "password": "correct horse",
    "first_name": "Ada",
    "last_name": "Head",
    "role": "admin",
}


class EphemeralStack:
    """A real stack beside any other; `with` brings it up and takes it down, also after a failure.

    reset_timeout: seconds every breaker stays open before it probes.
    """

    def __init__(self, reset_timeout: float = 4.0, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="school-stack-"))
        self._settings = {**self._base(reset_timeout), **settings}
        self.keep = False
        self.client = httpx.Client(timeout=15.0, **LOOPBACK)
        self.move()

    def move(self) -> None:
        """Take other ports, from the next `up` on."""
        self._settings.update(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.layout: StackConfig = layout(self._environment)
        self.client.base_url = httpx.URL(self.layout.gateway)

    def _base(self, reset_timeout: float) -> dict[str, str]:
        policies = self.folder / "breakers.toml"
        names = [
            line
            for line in (ROOT / "breakers.toml").read_text().splitlines()
            if line.startswith("[breakers.")
        ]
        policies.write_text("".join(f"{name}\nreset_timeout = {reset_timeout}\n" for name in names))
        limits = {"RATE_LIMIT_PER_MINUTE": "100000", "RATE_LIMIT_PER_HOUR": "100000"}
        return {**limits, "CIRCUIT_BREAKERS": str(policies), "STACK_DIR": str(self.folder / "stack")}

    @property
    def _environment(self) -> dict[str, str]:
        # What would send a private stack to somebody else's parts must not come in from outside.
        elsewhere = ("MONGODB_URI", "CIRCUIT_BREAKER_PROFILE", "SCHOOL_GRPC_ADDRESS", "JWKS_CACHE")
        kept = {k: v for k, v in os.environ.items() if k not in elsewhere and not k.endswith("_SERVICE_URL")}
        return {**kept, **self._settings}

    def __enter__(self) -> EphemeralStack:
        try:
            self.run("up")
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        self.client.close()
        self.run("down", check=False)
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`just WORDS` on this stack; in this process, where its environment doesn't matter."""
        if words == ("up",) and not Supervisor(self.layout).is_alive():
            done = self._subprocess(words)
        else:
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = main(list(words), self._environment)
            done = subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
        if check and done.returncode:
            raise RuntimeError(f"just {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done

    def _subprocess(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.stack", *words]
        return subprocess.run(
            command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )

    def pid(self, name: str) -> int:
        """The pid of a process that listens. Raises LookupError where none does."""
        holder = procfs.holder(self.layout.ports_of(name)[0])
        if holder.pid is None:
            raise LookupError(f"{name} doesn't listen")
        return holder.pid

    def kill(self, name: str) -> int:
        """End a process as a crash does; returns the pid it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def log(self, name: str) -> str:
        """The whole current log of a process."""
        return self.layout.log(name).read_text(errors="replace")

    def sign_up(self) -> dict[str, str]:
        """Make the first account, an admin, and log in; returns the headers that carry its token."""
        created = self.client.post("/auth/signup", json=_ADMIN)
        if created.status_code not in (201, 409):
            raise RuntimeError(f"signup answered {created.status_code}: {created.text}")
        return {"Authorization": f"Bearer {self.login().json()['data']['access_token']}"}

    def login(self) -> httpx.Response:
        """One login of the first account."""
        return self.client.post("/auth/login", json={key: _ADMIN[key] for key in ("email", "password")})

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and `data` of the gateway's /health."""
        answer = self.client.get("/health")
        return answer.status_code, answer.json()["data"]

    def states(self) -> dict[str, str]:
        """The state of each breaker, as /health tells; a service that can't be asked has none here."""
        found: Mapping[str, Any] = self.health()[1]
        return {name: breaker["state"] for name, _, breaker in breakers(found) if "state" in breaker}


def free_ports(count: int) -> list[int]:
    """Ports nobody holds, below those that outgoing connections take: a stopped service keeps its own."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(15000, 31000)
        if port not in found and procfs.is_free(port):
            found.append(port)
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition is met within the time; it is asked ten times a second."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
