"""The configuration of a stack: its processes, ports and folders, from environment variables.

Two stacks can run side by side if their ports and their STACK_DIR differ.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from protocols.topology import (
    API_GATEWAY,
    LOAD_BALANCER,
    MONGODB,
    PORTS,
    PROCESSES,
    VALKEY,
    gateway_names,
)

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
REPLICA_SET = "rs0"
LOOPBACK: Mapping[str, Any] = {"trust_env": False, "verify": False}
"""Options of httpx for requests to the stack: no proxy, and a certificate of any name."""
MARK = "SCHOOL_STACK_MARK"
"""The variable in the environment of every process of a stack. Its value is the stack's folder."""

MOST_GATEWAYS = 16
_GATEWAY_STEP = 10
"""Between the ports of two gateways: the services' ports follow the gateway's one by one."""

# bind() accepts 107 bytes, and supervisor first binds a temporary name: the final one and its pid.
LONGEST_SOCKET_PATH = 107 - len(".4194304")


class StackError(Exception):
    """A command can't be carried out. The message is printed for the operator."""


class ValkeyPlace(StrEnum):
    """Where the Valkey of a stack is."""

    OWN = "own"
    """The stack runs it."""
    ELSEWHERE = "elsewhere"
    """VALKEY_URL names it."""
    NONE = "none"
    """VALKEY_URL is empty: nothing is shared."""


@dataclass(frozen=True)
class Listener:
    """A port of a process. setting: it chooses the port, as `GATEWAY_PORT` or `GATEWAY_PORT + 10`."""

    setting: str
    process: str
    port: int


@dataclass(frozen=True)
class StackConfig:
    """The configuration of one stack.

    ports: by setting. mongodb_uri: without the credentials of the stack's own mongod. own_mongod: False if
    MONGODB_URI names a database elsewhere. tls: clients use TLS.
    gateways: how many. balanced: a load balancer listens on GATEWAY_PORT, in front of the gateways.
    operations_port: the first gateway's port for its own pages; None: they are on its other port.
    """

    folder: Path
    ports: Mapping[str, int]
    mongodb_uri: str
    own_mongod: bool
    tls: bool = False
    # A stack of an earlier version, which has none, may still run.
    valkey: ValkeyPlace = ValkeyPlace.NONE
    gateways: int = 1
    balanced: bool = False
    operations_port: int | None = None

    @property
    def processes(self) -> tuple[str, ...]:
        """The processes that this stack runs."""
        elsewhere = set() if self.own_mongod else {MONGODB}
        if not self.own_valkey:
            elsewhere.add(VALKEY)
        services = [name for name in PROCESSES if name not in elsewhere and name != API_GATEWAY]
        return (*services, *gateway_names(self.gateways), *([LOAD_BALANCER] if self.balanced else []))

    @property
    def own_valkey(self) -> bool:
        """Whether the stack runs a Valkey."""
        return self.valkey == ValkeyPlace.OWN

    @property
    def gateway(self) -> str:
        """The gateway's URL."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.ports['GATEWAY_PORT']}"

    @property
    def operations(self) -> str:
        """The URL of the gateway's own pages."""
        if self.operations_port is None:
            return self.gateway
        # Behind HAProxy, which has the certificate, a gateway speaks plain HTTP.
        return f"{'https' if self.tls and not self.balanced else 'http'}://{HOST}:{self.operations_port}"

    def operations_port_of(self, name: str) -> int | None:
        """The port for the own pages of one of several gateways; None if it has no such port."""
        if self.operations_port is None:
            return None
        return self.operations_port + _GATEWAY_STEP * gateway_names(self.gateways).index(name)

    @property
    def logs(self) -> Path:
        """The folder of the logs: one file per process."""
        return self.folder / "logs"

    @property
    def data(self) -> Path:
        """The folder of MongoDB's files."""
        return self.folder / "mongodb"

    @property
    def secrets(self) -> Path:
        """The folder of the stack's keys and passwords: one file for each."""
        return self.folder / "secrets"

    @property
    def valkey_folder(self) -> Path:
        """The folder of Valkey's configuration and password, which no other user can read."""
        return self.folder / "valkey"

    @property
    def libraries(self) -> Path:
        """The folder of links to the libraries that mongod needs and the system lacks."""
        return self.folder / "libraries"

    @property
    def configuration(self) -> Path:
        """The path of supervisor's configuration. `up` writes it."""
        return self.folder / "supervisord.conf"

    @property
    def socket(self) -> Path:
        """The path of supervisor's socket: in the folder, or under /tmp if that path is too long to bind."""
        path = self.folder / "supervisor.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(f"/tmp/school-stack-{os.getuid()}") / f"{digest}.sock"

    def environment_file(self, name: str) -> Path:
        """The path of the settings and credentials of a Python process, as a shell reads them."""
        return self.folder / f"{name}.env"

    def log(self, name: str) -> Path:
        """The path of the current log of a process."""
        return self.logs / f"{name}.log"

    def ports_of(self, name: str) -> list[int]:
        """The ports of a process, its HTTP port first."""
        return [listener.port for listener in self.listeners() if listener.process == name]

    def listeners(self) -> list[Listener]:
        """All ports on which the stack's processes listen."""
        running = self.processes
        found = [
            Listener(setting, owner, self.ports[setting])
            for setting, (owner, _) in PORTS.items()
            if owner in running and owner != API_GATEWAY
        ]
        return self._gateway_listeners() + self._operations_listeners() + found

    def _operations_listeners(self) -> list[Listener]:
        """OPERATIONS_PORT, and the ports of further gateways that are derived from it."""
        return [
            Listener(f"OPERATIONS_PORT + {port - first}" if port != first else "OPERATIONS_PORT", name, port)
            for name in gateway_names(self.gateways)
            if (first := self.operations_port) and (port := self.operations_port_of(name))
        ]

    def _gateway_listeners(self) -> list[Listener]:
        """GATEWAY_PORT, and the ports derived from it, which skip the ports of other settings."""
        first = self.ports["GATEWAY_PORT"]
        free = (
            (f"GATEWAY_PORT + {more}", first + more)
            for more in itertools.count(_GATEWAY_STEP, _GATEWAY_STEP)
            if first + more not in self.ports.values()
        )
        names = [LOAD_BALANCER] if self.balanced else []
        names += gateway_names(self.gateways)
        public = [("GATEWAY_PORT", first)]
        ports = itertools.islice(itertools.chain(public, free), len(names))
        return [Listener(setting, name, port) for name, (setting, port) in zip(names, ports, strict=True)]

    def save(self) -> None:
        """Write this configuration to the folder, for later commands with another environment."""
        values = {**asdict(self), "folder": str(self.folder), "ports": dict(self.ports)}
        with open(self._saved, "w", opener=_private) as file:
            json.dump(values, file, indent=2)

    def saved(self) -> StackConfig:
        """The configuration that the stack in this folder was started with; this one if there is none.

        Raises StackError if the file can't be read.
        """
        try:
            values = json.loads(self._saved.read_text())
            return StackConfig(
                self.folder,
                values["ports"],
                values["mongodb_uri"],
                values["own_mongod"],
                # Earlier versions don't write these.
                tls=values.get("tls", False),
                valkey=ValkeyPlace(values.get("valkey", ValkeyPlace.NONE)),
                gateways=values.get("gateways", 1),
                balanced=values.get("balanced", False),
                operations_port=values.get("operations_port"),
            )
        except FileNotFoundError:
            return self
        except (ValueError, KeyError) as error:
            raise StackError(f"{self._saved} can't be read ({error!r}): delete it") from error

    @property
    def _saved(self) -> Path:
        return self.folder / "stack.json"


def stack_config(environment: Mapping[str, str] = os.environ) -> StackConfig:
    """The configuration in the environment. Raises StackError, with its name, for an invalid setting."""
    ports = {setting: _port(environment, setting, default) for setting, (_, default) in PORTS.items()}
    for setting, port in ports.items():
        others = [other for other, theirs in ports.items() if theirs == port and other != setting]
        if others:
            raise StackError(f"{setting} and {others[0]} are both {port}")
    folder = Path(environment.get("STACK_DIR") or ROOT / ".stack").absolute()
    uri = environment.get("MONGODB_URI")
    own = f"mongodb://{HOST}:{ports['MONGODB_PORT']}/?replicaSet={REPLICA_SET}"
    gateways = _gateways(environment)
    config = StackConfig(
        folder,
        ports,
        uri or own,
        own_mongod=not uri,
        tls=bool(environment.get("TLS_CERT_FILE")),
        valkey=_valkey_place(environment),
        gateways=gateways,
        balanced=gateways > 1 and find_haproxy() is not None,
        operations_port=_operations_port(environment, ports),
    )
    if (highest := max(listener.port for listener in config.listeners())) > 65535:
        raise StackError(f"setting GATEWAY_PORT: {gateways} gateways would need port {highest}")
    return config


def find_haproxy() -> Path | None:
    """The haproxy on PATH, or where systems install it outside of a user's PATH; None if there is none."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _valkey_place(environment: Mapping[str, str]) -> ValkeyPlace:
    url = environment.get("VALKEY_URL")
    if url is None:
        return ValkeyPlace.OWN
    return ValkeyPlace.ELSEWHERE if url else ValkeyPlace.NONE


def _gateways(environment: Mapping[str, str]) -> int:
    value = environment.get("GATEWAY_INSTANCES") or "1"
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= MOST_GATEWAYS):
        raise StackError(
            f"setting GATEWAY_INSTANCES: not a number between 1 and {MOST_GATEWAYS} (got {value!r})"
        )
    return int(value)


def _operations_port(environment: Mapping[str, str], ports: Mapping[str, int]) -> int | None:
    if not environment.get("OPERATIONS_PORT"):
        return None
    port = _port(environment, "OPERATIONS_PORT", 0)
    if taken := [setting for setting, other in ports.items() if other == port]:
        raise StackError(f"OPERATIONS_PORT and {taken[0]} are both {port}")
    return port


def _port(environment: Mapping[str, str], setting: str, default: int) -> int:
    value = environment.get(setting) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise StackError(f"setting {setting}: not a port between 1 and 65535 (got {value!r})")
    return int(value)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # the database's URI may contain a password
