"""Where a stack lives: its processes, ports and folders, all of them settings.

Two stacks run beside each other when their ports and their STACK_DIR differ.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protocols.topology import MODULES, PORTS, PROCESSES

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
REPLICA_SET = "rs0"
LOOPBACK: Mapping[str, Any] = {"trust_env": False, "verify": False}
"""How httpx asks the stack on this machine: past any proxy, and the certificate is for another name."""
MARK = "SCHOOL_STACK_MARK"
"""In the environment of every process of a stack: its folder. So that left-overs can be recognised."""

# bind() takes 107 bytes, and supervisor first binds a name with its pid behind the final one.
LONGEST_SOCKET_PATH = 107 - len(".4194304")


class StackError(Exception):
    """Something the operator has to know; the message is meant for them."""


@dataclass(frozen=True)
class StackConfig:
    """One stack.

    own_mongod: False where MONGODB_URI says that the database runs elsewhere. tls: the gateway speaks TLS.
    """

    folder: Path
    ports: Mapping[str, int]
    mongodb_uri: str
    own_mongod: bool
    tls: bool = False

    @property
    def processes(self) -> tuple[str, ...]:
        """The processes this stack runs itself."""
        return PROCESSES if self.own_mongod else PROCESSES[1:]

    @property
    def gateway(self) -> str:
        """Where clients go."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.ports['GATEWAY_PORT']}"

    @property
    def logs(self) -> Path:
        """The folder of the logs, one file a process."""
        return self.folder / "logs"

    @property
    def data(self) -> Path:
        """The folder of MongoDB's files."""
        return self.folder / "mongodb"

    @property
    def libraries(self) -> Path:
        """The folder of the libraries that mongod needs and the system lacks."""
        return self.folder / "libraries"

    @property
    def configuration(self) -> Path:
        """Supervisor's configuration, written anew by `up`."""
        return self.folder / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """Supervisor's socket: in the folder, or under /tmp where that path is too long for one."""
        path = self.folder / "supervisor.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(f"/tmp/school-stack-{os.getuid()}") / f"{digest}.sock"

    def log(self, name: str) -> Path:
        """The current log of a process."""
        return self.logs / f"{name}.log"

    def ports_of(self, name: str) -> list[int]:
        """The ports a process listens on, the HTTP one first."""
        return [self.ports[setting] for setting, (owner, _) in PORTS.items() if owner == name]

    def environment(self) -> dict[str, str]:
        """What the processes get to see: the caller's environment, and where each of them is."""
        ports = self.ports
        found = dict(os.environ)
        found.setdefault("AUTH_SERVICE_URL", f"http://{HOST}:{ports['AUTH_SERVICE_PORT']}")
        found.setdefault("SCHOOL_SERVICE_URL", f"http://{HOST}:{ports['SCHOOL_SERVICE_PORT']}")
        found.setdefault("STUDENT_SERVICE_URL", f"http://{HOST}:{ports['STUDENT_SERVICE_PORT']}")
        found.setdefault("SCHOOL_GRPC_ADDRESS", f"{HOST}:{ports['SCHOOL_GRPC_PORT']}")
        found.update({setting: str(port) for setting, port in ports.items()})
        found.update({"MONGODB_URI": self.mongodb_uri, "PYTHONUNBUFFERED": "1", MARK: str(self.folder)})
        return found

    def save(self) -> None:
        """Remember where the stack was started, for later commands without the same environment."""
        values = {**asdict(self), "folder": str(self.folder), "ports": dict(self.ports)}
        with open(self._saved, "w", opener=_private) as file:
            json.dump(values, file, indent=2)

    def saved(self) -> StackConfig:
        """The layout this folder's stack was started with; this one, where none was."""
        try:
            values = json.loads(self._saved.read_text())
            kept = values["ports"], values["mongodb_uri"], values["own_mongod"], values.get("tls", False)
            return StackConfig(self.folder, *kept)
        except FileNotFoundError:
            return self
        except (ValueError, KeyError) as error:
            raise StackError(f"{self._saved} can't be read ({error!r}): delete it") from error

    @property
    def _saved(self) -> Path:
        return self.folder / "stack.json"


def layout(environment: Mapping[str, str] = os.environ) -> StackConfig:
    """The stack that the environment describes. Raises StackError naming a bad setting."""
    ports = {setting: _port(environment, setting, default) for setting, (_, default) in PORTS.items()}
    for setting, port in ports.items():
        others = [other for other, theirs in ports.items() if theirs == port and other != setting]
        if others:
            raise StackError(f"{setting} and {others[0]} are both {port}")
    folder = Path(environment.get("STACK_DIR") or ROOT / ".stack").absolute()
    uri = environment.get("MONGODB_URI")
    own = f"mongodb://{HOST}:{ports['MONGODB_PORT']}/?replicaSet={REPLICA_SET}"
    return StackConfig(
        folder, ports, uri or own, own_mongod=not uri, tls=bool(environment.get("TLS_CERT_FILE"))
    )


def command(name: str) -> list[str]:
    """The command line of a Python process of the stack."""
    return [sys.executable, "-m", MODULES[name]]


def _port(environment: Mapping[str, str], setting: str, default: int) -> int:
    value = environment.get(setting) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise StackError(f"setting {setting}: not a port between 1 and 65535 (got {value!r})")
    return int(value)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # the database's URI may hold a password
