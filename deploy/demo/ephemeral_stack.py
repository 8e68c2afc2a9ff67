"""A temporary stack for the demo and for tests: free ports, a temporary folder, short reset timeouts."""

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

from deploy import environments, procfs
from deploy.cli import main
from deploy.config import LOOPBACK, ROOT, StackConfig, stack_config
from deploy.supervisor import StackSupervisor
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
    """A real stack, independent of any other. `with` starts it, and stops it also after a failure.

    reset_timeout: seconds that every breaker stays open. settings: further environment variables.
    keep: don't delete the folder at the end. Raises RuntimeError if the stack doesn't start.
    """

    def __init__(self, reset_timeout: float = 4.0, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="school-stack-"))
        self._settings = {**self._base(reset_timeout), **settings}
        self.keep = False
        self.client = httpx.Client(timeout=15.0, **LOOPBACK)
        self.move()

    def move(self) -> None:
        """Choose other free ports. They are used from the next `up` on."""
        while True:
            self._settings.update(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
            self.config: StackConfig = stack_config(self._environment)
            if all(procfs.is_free(one.port) for one in self.config.listeners()):
                break  # the ports of further gateways follow from the first one's
        self.client.base_url = httpx.URL(self.config.gateway)

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
        # These would connect this stack to processes of another one.
        foreign = (
            "MONGODB_URI",
            "VALKEY_URL",
            "GATEWAY_INSTANCES",
            "CIRCUIT_BREAKER_PROFILE",
            "SCHOOL_GRPC_ADDRESS",
            "JWKS_CACHE",
            "SCHOOL_GRPC_SECRET",
        )
        kept = {k: v for k, v in os.environ.items() if k not in foreign and not k.endswith("_SERVICE_URL")}
        return {**kept, **self._settings}

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a process of this stack, to run one more like it by hand."""
        return {**self._environment, **environments.settings_of(self.config, name, self._environment)}

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

    def run(
        self, *words: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `just WORDS` on this stack, and return its output.

        check: raise RuntimeError if the exit status isn't 0. stdin: the command's input; without it, the
        output of a process that the command starts isn't returned.
        """
        # The first `up` runs in a new process, since the stack's processes inherit its environment.
        is_first = words == ("up",) and not StackSupervisor(self.config).is_alive()
        if is_first or stdin is not None:
            done = self._subprocess(words, stdin)
        else:
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                status = main(list(words), self._environment)
            done = subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())
        if check and done.returncode:
            raise RuntimeError(f"just {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done

    def _subprocess(self, words: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.stack", *words]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def pid(self, name: str) -> int:
        """The pid of the process that listens on `name`'s first port. Raises LookupError if none does."""
        holder = procfs.holder(self.config.ports_of(name)[0])
        if holder.pid is None:
            raise LookupError(f"{name} doesn't listen")
        return holder.pid

    def kill(self, name: str) -> int:
        """Kill a process with SIGKILL, as in a crash. Returns its pid."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def log(self, name: str) -> str:
        """The whole current log of a process."""
        return self.config.log(name).read_text(errors="replace")

    def sign_up(self) -> dict[str, str]:
        """Create the first account, an admin, and log in. Returns the Authorization header."""
        created = self.client.post("/auth/signup", json=_ADMIN)
        if created.status_code not in (201, 409):
            raise RuntimeError(f"signup answered {created.status_code}: {created.text}")
        return self.bearer()

    def bearer(self) -> dict[str, str]:
        """Log in with the first account. Returns the Authorization header."""
        return {"Authorization": f"Bearer {self.login().json()['data']['access_token']}"}

    def login(self) -> httpx.Response:
        """Log in with the first account."""
        return self.client.post("/auth/login", json={key: _ADMIN[key] for key in ("email", "password")})

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and `data` of the gateway's /health."""
        response = self.client.get("/health")
        return response.status_code, response.json()["data"]

    def states(self) -> dict[str, str]:
        """The state of each breaker in /health. Breakers of a process that doesn't answer are left out."""
        found: Mapping[str, Any] = self.health()[1]
        return {name: breaker["state"] for name, _, breaker in breakers(found) if "state" in breaker}


def free_ports(count: int) -> list[int]:
    """Free ports below the range of outgoing connections, so that a stopped process's port stays free."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(15000, 31000)
        if port not in found and procfs.is_free(port):
            found.append(port)
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Call `condition` every 0.1 s until it returns True. Returns False if it doesn't within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met
