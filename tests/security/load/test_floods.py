"""One client uses more than its share. Other clients, and admins, are served as before."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest
import trio
from h2.errors import ErrorCodes

from deploy.demo.ephemeral_stack import free_ports, wait_for
from gateway.dashboard.places import KEPT_FOR_ADMINS, PLACES, PLACES_OF_A_CLIENT
from runtime.serving import Limits
from runtime.serving.protocol.frame_budget import FREE_FRAMES
from tests.certificates import TestCertificate
from tests.deploy.programs import is_up, program
from tests.runtime.serving.h2_client import H2Client
from tests.security.attacked_stack import ADMIN_TOKEN, LONG, SETTINGS, Account, AttackedStack
from tests.security.load.raw_clients import connect, held, is_open, read_status

HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost:"
WHOLE_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
PLACES_FOR_CONNECTIONS = int(SETTINGS["MAX_CONNECTIONS"])
MOST_OF_A_CLIENT = 0.9 * PLACES_FOR_CONNECTIONS
FLOODERS = 40
LOGINS = 30 if LONG else 8


@dataclass(frozen=True)
class SpareGateway:
    """Another gateway of the same stack, with TLS, HTTP/2 and room for many connections."""

    port: int
    certificate: TestCertificate

    def client(self, address: str) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address, verify=self.certificate.client_context())
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", transport=transport, timeout=20)

    @asynccontextmanager
    async def h2_client(self, address: str) -> AsyncIterator[H2Client]:
        tcp = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=address)
        stream = trio.SSLStream(tcp, self.certificate.client_context("h2"), server_hostname="127.0.0.1")
        client = H2Client(stream)
        await client.flush()
        try:
            yield client
        finally:
            await trio.aclose_forcefully(stream)


@pytest.fixture(scope="module")
def spare(attacked: AttackedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpareGateway]:
    folder = tmp_path_factory.mktemp("spare")
    certificate = TestCertificate(folder)
    (port,) = free_ports(1)
    environment = attacked.stack.environment("api-gateway") | {
        "GATEWAY_PORT": str(port),
        "MAX_CONNECTIONS": "1000",
        "JWKS_CACHE": str(folder / "jwks.json"),
        "TLS_CERT_FILE": str(certificate.certificate),
        "TLS_KEY_FILE": str(certificate.key),
    }
    gateway = SpareGateway(port, certificate)
    log = folder / "log"
    with program([sys.executable, "-m", "gateway"], log, env=environment) as process:
        with gateway.client("127.0.0.1") as client:
            assert wait_for(lambda: is_up(client), 20), log.read_text()
        yield gateway
        process.terminate()
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()


def login_seconds(attacked: AttackedStack, account: Account, count: int) -> list[float]:
    """How long log-ins take, one after the other, from a new address."""
    body = {"email": account.email, "password": account.password}
    found = []
    with attacked.client() as client:
        for _ in range(count):
            began = time.monotonic()
            answer = client.post("/auth/login", json=body)
            found.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
            attacked.secrets.add(answer.json()["data"]["refresh_token"])
    return found


def test_a_flood_of_sign_ups_delays_the_client_that_makes_it(attacked: AttackedStack) -> None:
    """Clients take turns at password hashes, so another client's log-in waits for one of them."""
    address, over = attacked.address(), threading.Event()
    seconds: list[float] = []
    statuses: Counter[int] = Counter()

    def flood(number: int) -> None:
        person = {"password": "pass-phrase", "first_name": "F", "last_name": "L"}
        with attacked.client(address=address) as client:
            turn = 0
            while not over.is_set():
                body = {**person, "email": f"flood-{number}-{turn}@school.test"}
                began = time.monotonic()
                statuses[client.post("/auth/signup", json=body).status_code] += 1
                seconds.append(time.monotonic() - began)
                turn += 1

    with ThreadPoolExecutor(FLOODERS) as pool:
        running = [pool.submit(flood, number) for number in range(FLOODERS)]
        try:
            time.sleep(0.5)
            victims = login_seconds(attacked, attacked.ben, LOGINS)
        finally:
            over.set()
        for one in running:
            one.result()
    assert set(statuses) <= {201, 429}
    assert len(seconds) > FLOODERS
    assert statistics.median(victims) < statistics.median(seconds) / 2


def test_guessing_one_password_does_not_lock_its_owner_out(attacked: AttackedStack) -> None:
    address = attacked.address()
    guesses = {"email": attacked.ben.email, "password": "a guess"}
    with ThreadPoolExecutor(8) as pool, attacked.client(address=address) as guesser:
        statuses = Counter(
            pool.map(lambda _: guesser.post("/auth/login", json=guesses).status_code, range(60))
        )
    assert statuses == {401: 20, 429: 40}
    login_seconds(attacked, attacked.ben, 1)


@pytest.mark.parametrize("sent", [HALF_A_HEAD, b""], ids=["half a head", "nothing"])
def test_a_flood_of_connections_leaves_places_for_others(attacked: AttackedStack, sent: bytes) -> None:
    """Two clients that take all they get leave places for a third one, which needs several."""
    count = PLACES_FOR_CONNECTIONS + 10
    with held(attacked, attacked.address(), count, sent) as first:
        with held(attacked, attacked.address(), count, sent):
            # A refused connection gets a response, or is closed.
            assert wait_for(lambda: sum(map(is_open, first)) <= MOST_OF_A_CLIENT, 15)
            with attacked.client() as other:
                assert other.get("/schools", headers=attacked.ben.bearer).status_code == 200
                assert other.get("/health").status_code == 200
                assert other.get("/admin/breakers", headers=attacked.admin).status_code == 200


def test_a_refused_connection_is_answered_503(attacked: AttackedStack) -> None:
    address = attacked.address()
    with held(attacked, address, PLACES_FOR_CONNECTIONS, HALF_A_HEAD) as clients:
        assert wait_for(lambda: sum(map(is_open, clients)) <= MOST_OF_A_CLIENT, 15)
        with connect(attacked, address) as late:
            late.sendall(WHOLE_HEAD)
            assert read_status(late) == 503


def test_a_flood_of_dashboards_leaves_places_for_others_and_for_admins(
    attacked: AttackedStack, spare: SpareGateway
) -> None:
    with ExitStack() as streams:

        def watch(client: httpx.Client, **headers: str) -> int:
            request = client.build_request("GET", "/dashboard/events", headers=headers)
            answer = client.send(request, stream=True)
            streams.callback(answer.close)
            return answer.status_code

        clients = [streams.enter_context(spare.client(attacked.address())) for _ in range(5)]
        statuses = [[watch(client) for _ in range(PLACES_OF_A_CLIENT + 2)] for client in clients]
        assert statuses[:4] == [[200] * PLACES_OF_A_CLIENT + [503] * 2] * 4
        assert statuses[4].count(200) == PLACES - KEPT_FOR_ADMINS - 4 * PLACES_OF_A_CLIENT
        late = streams.enter_context(spare.client(attacked.address()))
        assert watch(late) == 503
        assert watch(late, **attacked.ann.bearer) == 403
        assert watch(late, Authorization=f"Bearer {ADMIN_TOKEN}") == 200
        assert watch(late, **attacked.admin) == 200
        assert late.get("/health").status_code == 200


async def test_a_flood_of_streams_that_are_reset_ends_its_connection(
    attacked: AttackedStack, spare: SpareGateway
) -> None:
    address, other = attacked.address(), attacked.address()
    with trio.fail_after(20):
        async with spare.h2_client(address) as client:
            with suppress(trio.BrokenResourceError, EOFError):
                for _ in range(20 * FREE_FRAMES):
                    client.connection.reset_stream(client.open(b"/health"))
                    await client.flush()
            await client.end(within=10)
            assert client.goaway is None or client.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        async with spare.h2_client(other) as client:
            assert (await client.ask(b"/livez")).status == 200


async def test_streams_that_are_never_ended_are_limited_and_time_out(
    attacked: AttackedStack, spare: SpareGateway
) -> None:
    """Another client, and another connection of the same one, are served meanwhile."""
    address = attacked.address()
    token = [(b"authorization", attacked.ann.bearer["Authorization"].encode())]
    with trio.fail_after(30):
        async with spare.h2_client(address) as client:
            await client.until(lambda: client.connection.remote_settings.max_concurrent_streams < 1000)
            most = client.connection.remote_settings.max_concurrent_streams
            assert most == Limits().streams
            opened = [client.open(b"/schools", b"POST", token, end=False) for _ in range(most)]
            await client.flush()
            for one in (address, attacked.address()):
                async with spare.h2_client(one) as other:
                    answer = await other.ask(b"/schools", b"GET", token)
                    assert answer.status == 200
            seconds = float(SETTINGS["CLIENT_BODY_TIMEOUT"]) + 8
            await client.until(lambda: all(client.answers[one].over for one in opened), within=seconds)
            assert {client.answers[one].status for one in opened} == {408}
