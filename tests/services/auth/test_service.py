"""The auth service on real parts: sockets, MongoDB that breaks, real hashes, the process itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, State
from protocols.topology import AUTH_DATABASE
from runtime.serving import listen, serve
from services.auth.accounts import Accounts
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.auth.repository import MongoAccountRepository
from services.mongo.client import Database, open_database
from services.mongo.dependency import database_dependency
from tests.mongo import Mongod

ROOT = Path(__file__).resolve().parents[3]
ADA = {"email": "ada@example.com", "password": "lovelace", "first_name": "Ada", "last_name": "Lovelace"}


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Poll until the condition holds, for a limited time."""
    with trio.fail_after(seconds):
        while True:
            if await holds():
                return
            await trio.sleep(0.01)


class AuthServer:
    """The service on a socket, its breaker, and a client."""

    def __init__(self, breaker: CircuitBreaker, client: httpx.AsyncClient) -> None:
        self.breaker = breaker
        self.client = client

    async def signup(self) -> httpx.Response:
        return await self.client.post("/signup", json=ADA)

    async def login(self) -> httpx.Response:
        return await self.client.post("/login", json=ADA)


@asynccontextmanager
async def served(database: Database, panel: Panel) -> AsyncIterator[AuthServer]:
    """The app on a free port, with a breaker that tries again after 0.4 seconds."""
    dependency = database_dependency(
        panel, CircuitBreakerConfig(name=AUTH_DATABASE, reset_timeout=0.4), REJECTION_MESSAGE
    )
    app = create_app(Accounts(MongoAccountRepository(database), dependency, Passwords()), panel)
    async with trio.open_nursery() as nursery:
        start = partial(serve, app, host="127.0.0.1", port=0, stop=trio.sleep_forever)
        port = await nursery.start(start)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield AuthServer(panel[AUTH_DATABASE], client)
        nursery.cancel_scope.cancel()


async def test_thirty_concurrent_logins_delay_no_other_request(database: Database, panel: Panel) -> None:
    async with served(database, panel) as service:
        await service.signup()
        worst = 0.0
        statuses: list[int] = []

        async def login() -> None:
            statuses.append((await service.login()).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(login)
            while len(statuses) < 30:
                asked = trio.current_time()
                assert (await service.client.get("/livez")).status_code == 200
                worst = max(worst, trio.current_time() - asked)
                await trio.sleep(0.01)
        assert statuses == [200] * 30
        assert worst < 2


async def test_a_killed_mongodb_opens_the_breaker_and_a_probe_closes_it(
    own_mongod: Mongod, loop: Any, panel: Panel
) -> None:
    """Five errors, then rejections, until MongoDB is back."""
    async with open_database(own_mongod.uri, "auth") as database, served(database, panel) as service:
        await service.signup()
        token = (await service.login()).json()["data"]["access_token"]
        own_mongod.kill()
        answers = [await service.login() for _ in range(6)]
        codes = [answer.json()["error"] for answer in answers]
        assert codes == ["DATABASE_ERROR"] * 5 + ["SERVICE_UNAVAILABLE"]
        assert {answer.headers["X-Failure-Origin"] for answer in answers} == {"auth-database"}
        assert answers[-1].elapsed.total_seconds() < 0.5
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await service.client.post("/validate", headers=bearer)).status_code == 200
        await trio.to_thread.run_sync(own_mongod.start)

        async def works() -> bool:
            return (await service.login()).status_code == 200

        await eventually(works, 10)
        assert service.breaker.state == State.CLOSED
        assert (await service.client.post("/validate", headers=bearer)).status_code == 200


async def test_hanging_up_cancels_the_operation_within_100_ms_and_counts_no_failure(
    own_mongod: Mongod, loop: Any, panel: Panel
) -> None:
    async with open_database(own_mongod.uri, "auth") as database, served(database, panel) as service:
        await service.signup()
        assert (await service.login()).status_code == 200
        own_mongod.freeze()
        before = await service.breaker.snapshot()
        with trio.move_on_after(0.3):
            await service.login()

        async def idle() -> bool:
            return (await service.breaker.snapshot()).in_flight == 0

        await eventually(idle, 0.1)
        after = await service.breaker.snapshot()
        assert after.counts["cancelled"] == before.counts["cancelled"] + 1
        assert after.counts["failure"] == 0
        own_mongod.thaw()
        assert (await service.login()).status_code == 200


class AuthProcess:
    """`python -m services.auth` on a port."""

    def __init__(self, process: trio.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def up(self) -> None:
        """Wait until it answers."""
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"{self.url}/livez")
                except httpx.TransportError:
                    assert self.process.returncode is None, await self.output()
                    await trio.sleep(0.05)
                else:
                    return

    async def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()

    async def output(self) -> str:
        """The output of the process."""
        assert self.process.stdout is not None
        return b"".join([part async for part in self.process.stdout]).decode()


@asynccontextmanager
async def process(uri: str, port: int | None = None) -> AsyncIterator[AuthProcess]:
    """The process, killed at the end if it still runs."""
    if port is None:
        with listen("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
    running = await trio.lowlevel.open_process(
        [sys.executable, "-m", "services.auth"],
        cwd=ROOT,
        env={**os.environ, "MONGODB_URI": uri, "AUTH_SERVICE_PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        with trio.fail_after(30):
            yield AuthProcess(running, port)
    finally:
        if running.returncode is None:
            running.kill()
            with trio.CancelScope(shield=True):
                await running.wait()


async def test_the_process_keeps_its_keys_and_logs_no_secret(mongod: Mongod) -> None:
    """SIGTERM ends it with 0."""
    async with httpx.AsyncClient() as client:
        async with process(mongod.uri) as one:
            await one.up()
            await client.post(f"{one.url}/signup", json=ADA)
            session = (await client.post(f"{one.url}/login", json=ADA)).json()["data"]
            jwks = (await client.get(f"{one.url}/.well-known/jwks.json")).json()
            assert await one.end() == 0
            output = await one.output()
            assert '"path": "/login"' in output
            for secret in (ADA["email"], ADA["password"], session["access_token"], session["refresh_token"]):
                assert secret not in output
        async with process(mongod.uri) as two:
            await two.up()
            assert (await client.get(f"{two.url}/.well-known/jwks.json")).json() == jwks
            bearer = {"Authorization": f"Bearer {session['access_token']}"}
            assert (await client.post(f"{two.url}/validate", headers=bearer)).status_code == 200


async def test_the_process_starts_without_mongodb() -> None:
    """Health is answered. A login is a database error."""
    with listen("127.0.0.1", 0) as nobody:
        uri = f"mongodb://127.0.0.1:{nobody.getsockname()[1]}/?directConnection=true"
    async with process(uri) as one, httpx.AsyncClient(timeout=20) as client:
        await one.up()
        assert (await client.get(f"{one.url}/health")).status_code == 200
        answer = await client.post(f"{one.url}/login", json=ADA)
        assert (answer.status_code, answer.json()["error"]) == (503, "DATABASE_ERROR")
        assert await one.end() == 0


async def test_a_request_in_flight_at_sigterm_is_answered(mongod: Mongod) -> None:
    async with process(mongod.uri) as one:
        await one.up()
        body = b'{"email": "last@example.com", "password": "lovelace", "first_name": "A", "last_name": "B"}'
        host, port = "127.0.0.1", int(one.url.rpartition(":")[2])
        stream = await trio.open_tcp_stream(host, port)
        head = f"POST /signup HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
        await stream.send_all(head.encode() + body[:10])
        await trio.sleep(0.2)
        one.process.send_signal(signal.SIGTERM)
        await trio.sleep(0.2)
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(host, port)
        await stream.send_all(body[10:])
        answer = b"".join([part async for part in stream])
        assert answer.split(b" ")[1] in (b"201", b"409")
        assert await one.process.wait() == 0


async def test_an_invalid_setting_is_named_and_stops_the_start() -> None:
    """The exit code is 2."""
    async with process("http://not-mongodb", 0) as one:
        assert await one.process.wait() == 2
        assert (await one.output()).startswith("setting MONGODB_URI: ")
