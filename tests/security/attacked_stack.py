"""The real stack under attack, its accounts, and the checks that hold after every attack."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import httpx

from deploy.config import HOST
from deploy.demo.ephemeral_stack import EphemeralStack, wait_for
from tests.security.operations import Document

EXAMPLES = int(os.environ.get("SECURITY_EXAMPLES", "2"))
"""Generated requests for each call, account and kind; `just test-security` sets more."""
LONG = EXAMPLES > 10
ADMIN_TOKEN = "an-operators-token-0123456789-0123456789"
SETTINGS = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "MAX_CONNECTIONS": "60",
    "CLIENT_HEADER_TIMEOUT": "2",
    "CLIENT_BODY_TIMEOUT": "2",
    "CLIENT_UPLOAD_TIMEOUT": "3",
    "CLIENT_WRITE_TIMEOUT": "2",
}
"""Of the gateway. The limits are low, so that reaching them takes little time."""
PYTHON_PROCESSES = ("api-gateway", "auth-service", "school-service", "student-service")
_SERVICES = PYTHON_PROCESSES[1:]
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")
_HARMED = re.compile(r'^circuit_breaker_calls_total\{(.*)outcome="(?:failure|rejected)"(.*)\} (\S+)$', re.M)


@dataclass
class Account:
    """An account that has logged in. bearer: its Authorization field."""

    email: str
    password: str
    refresh_token: str
    bearer: dict[str, str]


@dataclass
class AttackedStack:
    """The stack, an admin and two users. secrets: texts that no log may have."""

    stack: EphemeralStack
    admin: dict[str, str]
    ann: Account
    ben: Account
    pids: dict[str, int]
    secrets: set[str] = field(default_factory=set)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def address(self) -> str:
        """An address of this host from which no client has called yet."""
        high, low = divmod(next(self._addresses), 250)
        return f"127.1.{high}.{low + 1}"

    def client(self, url: str | None = None, address: str | None = None) -> httpx.Client:
        """A client of the gateway, or of a service, with an address of its own."""
        transport = httpx.HTTPTransport(local_address=address or self.address(), retries=0)
        return httpx.Client(base_url=url or self.stack.config.gateway, transport=transport, timeout=20)

    def url(self, process: str) -> str:
        """The URL of a process's own port."""
        return f"http://{HOST}:{self.stack.config.ports_of(process)[0]}"

    def new_school(self, owner: Account) -> int:
        """The id of a new school."""
        return self._created("/schools", owner, {"registration_number": token_hex(6), "name": "Hill School"})

    def new_student(self, owner: Account, school: int) -> int:
        """The id of a new student."""
        student = {"roll_number": token_hex(6), "first_name": "Cy", "last_name": "Young", "school_id": school}
        return self._created("/students", owner, student)

    def _created(self, path: str, owner: Account, body: dict[str, Any]) -> int:
        answer = self.stack.client.post(path, headers=owner.bearer, json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["data"]["id"])

    def documents(self) -> dict[str, tuple[str, Document]]:
        """By process: its URL and its OpenAPI document. The gateway's has the calls of all services."""

        def merged() -> Document:
            found: Document = self.stack.client.get("/docs/openapi.json").json()
            return found

        assert wait_for(lambda: {"/auth/login", "/schools", "/students"} <= merged()["paths"].keys(), 10)
        found = {"api-gateway": (self.stack.config.gateway, merged())}
        for name in _SERVICES:
            answer = httpx.get(f"{self.url(name)}/openapi.json", trust_env=False)
            found[name] = self.url(name), answer.json()
        return found

    def problems(self) -> list[str]:
        """The damage of an attack; empty if there is none."""
        return [*self._process_problems(), *self._breaker_problems(), *self._log_problems()]

    def _process_problems(self) -> Iterator[str]:
        for name, pid in self.pids.items():
            if self.stack.pid(name) != pid:
                yield f"{name} is another process"
        answer = self.stack.client.get("/health")
        if answer.status_code != 200:
            yield f"/health: {answer.text}"

    def _breaker_problems(self) -> Iterator[str]:
        states = self.stack.states()
        if len(states) != 7 or set(states.values()) != {"CLOSED"}:
            yield f"breakers: {states}"
        for name in PYTHON_PROCESSES:
            text = httpx.get(f"{self.url(name)}/metrics", trust_env=False).text
            if bad := [match[0] for match in _HARMED.finditer(text) if float(match[3])]:
                yield f"{name}: {bad}"

    def _log_problems(self) -> Iterator[str]:
        for name in self.stack.config.processes:
            log = self.stack.log(name)
            if "Traceback" in log:
                yield f"{name}: {log[log.index('Traceback') - 500 :][:3000]}"
            for secret in self.secrets:
                if secret in log:
                    yield f"{name} has logged {secret}"
            if name in PYTHON_PROCESSES and (address := _ADDRESS.search(log)):
                yield f"{name} has logged {address[0]}"
            if bad := [line for line in log.splitlines() if '"level": "error"' in line]:
                yield f"{name}: {bad[:3]}"


@contextmanager
def attacked_stack() -> Iterator[AttackedStack]:
    """A running stack with its accounts, until the block ends."""
    with EphemeralStack(60.0, **SETTINGS) as stack:
        admin = stack.sign_up()
        ann, ben = (_account(stack, name) for name in ("ann.attacker", "ben.victim"))
        pids = {name: stack.pid(name) for name in stack.config.processes}
        made = AttackedStack(stack, admin, ann, ben, pids)
        made.secrets |= {signature(admin), ADMIN_TOKEN}
        for one in (ann, ben):
            made.secrets |= {one.password, one.refresh_token, signature(one.bearer), one.email}
        yield made


def signature(bearer: dict[str, str]) -> str:
    """The last part of an Authorization field's token."""
    return bearer["Authorization"].rpartition(".")[2]


def _account(stack: EphemeralStack, name: str) -> Account:
    email, password = f"{name}@school.test", f"pass-phrase of {name}"
    person = {"email": email, "password": password, "first_name": "A", "last_name": "B"}
    answer = stack.client.post("/auth/signup", json=person)
    assert answer.status_code == 201, answer.text
    session = stack.client.post("/auth/login", json={"email": email, "password": password}).json()["data"]
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    return Account(email, password, session["refresh_token"], bearer)
