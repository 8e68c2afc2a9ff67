"""Real mongods for tests: replica sets of one or three members, on free ports, in temporary folders."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.programs import libraries
from deploy.programs.mongodb import find_mongod

REPLICA_SET = "rs0"
PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    # A test run that is killed can't end its mongod.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Mongod:
    """One mongod. It can be killed, frozen, and started again with the same data and port.

    fails_on_request: allow `fail`.
    """

    def __init__(self, folder: Path, *, fails_on_request: bool = False) -> None:
        self.folder = folder
        self.port = free_port()
        self._parameters = ["--setParameter", "enableTestCommands=1"] if fails_on_request else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}"

    def start(self, timeout: float = 30.0) -> None:
        """Start it, and wait until it accepts writes. Raises RuntimeError after `timeout` seconds."""
        self.launch()
        self._wait_for_primary(timeout)

    def launch(self) -> None:
        """Start it without waiting."""
        binary = find_mongod()
        found = libraries.environment(binary, self.folder / "libraries")
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        options = {
            "dbpath": data,
            "logpath": self.folder / "mongod.log",
            "port": self.port,
            "bind_ip": "127.0.0.1",
            "replSet": REPLICA_SET,
            "oplogSize": 64,
            "wiredTigerCacheSizeGB": 0.25,
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        self._process = subprocess.Popen(
            [binary, *arguments, *self._parameters, "--nounixsocket", "--logappend"],
            env={**os.environ, **found},
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )

    def _wait_for_primary(self, timeout: float) -> None:
        give_up = time.monotonic() + timeout
        client: MongoClient[dict[str, object]]
        with MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=500
        ) as client:
            while time.monotonic() < give_up:
                if self._process is None or self._process.poll() is not None:
                    break
                try:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return
                    self._initiate(client)
                except PyMongoError:
                    pass
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"mongod didn't become primary; see {self.folder / 'mongod.log'}")

    def _initiate(self, client: MongoClient[dict[str, object]]) -> None:
        members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
        try:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members})
        except OperationFailure as error:
            if error.code != 23:  # AlreadyInitialized
                raise

    def fail(self, code: int | None, *commands: str) -> None:
        """Fail these commands with an error of this code from now on. None: stop failing."""
        client: MongoClient[dict[str, object]]
        with MongoClient("127.0.0.1", self.port, directConnection=True) as client:
            data = {"errorCode": code, "failCommands": commands}
            mode = {"mode": "off"} if code is None else {"mode": "alwaysOn", "data": data}
            client.admin.command({"configureFailPoint": "failCommand", **mode})

    def kill(self) -> None:
        """Kill it with SIGKILL, also while it is frozen, and wait until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it without closing its connections (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it after a freeze."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("mongod isn't running")
        self._process.send_signal(number)


class ReplicaSet:
    """A replica set of three mongods."""

    def __init__(self, folder: Path) -> None:
        self.members = [Mongod(folder / str(number)) for number in range(3)]

    @property
    def uri(self) -> str:
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={REPLICA_SET}"

    def start(self, timeout: float = 60.0) -> None:
        """Start all members, and wait for a primary and two secondaries.

        Secondaries elect a new primary after 1.5 s without one. Raises RuntimeError after `timeout` seconds.
        """
        for member in self.members:
            member.launch()
        hosts = [{"_id": n, "host": f"127.0.0.1:{one.port}"} for n, one in enumerate(self.members)]
        settings = {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 300, "heartbeatTimeoutSecs": 1}
        give_up = time.monotonic() + timeout
        while time.monotonic() < give_up:
            try:
                states = [self._command(one, {"hello": 1}) for one in self.members]
                if "setName" not in states[0]:
                    config = {"_id": REPLICA_SET, "members": hosts, "settings": settings}
                    self._command(self.members[0], {"replSetInitiate": config})
                    continue
                if sorted(self._role(state) for state in states) == ["primary", "secondary", "secondary"]:
                    return
            except PyMongoError:
                pass
            time.sleep(0.1)
        self.kill()
        raise RuntimeError("no primary was elected")

    def primary(self) -> Mongod:
        """The member that accepts writes."""
        return next(one for one in self.members if self._command(one, {"hello": 1})["isWritablePrimary"])

    def elect_after(self, seconds: int) -> None:
        """Let the primary step down, and prevent an election for so many seconds."""
        leaving = self.primary()
        for member in self.members:
            if member is not leaving:
                self._command(member, {"replSetFreeze": seconds})
        self._command(leaving, {"replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 1, "force": True})

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    @staticmethod
    def _role(hello: dict[str, object]) -> str:
        if hello["isWritablePrimary"]:
            return "primary"
        return "secondary" if hello.get("secondary") else "other"

    @staticmethod
    def _command(member: Mongod, command: dict[str, object]) -> dict[str, object]:
        client: MongoClient[dict[str, object]]
        with MongoClient(
            "127.0.0.1", member.port, directConnection=True, serverSelectionTimeoutMS=500
        ) as client:
            return client.admin.command(command)
