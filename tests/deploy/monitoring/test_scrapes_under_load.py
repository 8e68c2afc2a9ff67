"""Consistent scrapes of a real gateway under load: with one worker and with two, in both formats."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from actors.messages import State
from tests.deploy.programs import gateway, upstream
from tests.tokens import Issuer
from tests.valkey import running_valkey

SCRAPES = 24
CALLERS = 12
BREAKERS = {"auth": "auth-service-http", "schools": "school-service-http", "students": "student-service-http"}
MOMENTS = (
    "circuit_breaker_state",
    "circuit_breaker_last_state_change",
    "circuit_breaker_outage_start_time_seconds",
)
OUTCOMES = ("success", "failure", "ignored", "cancelled", "rejected")
# The school service's breaker has a bulkhead and never opens; the student service's opens all the time.
POLICIES = """
[breakers.auth-service-http]
max_failures = 2
reset_timeout = 0.1
[breakers.school-service-http]
max_failures = 1000
max_concurrent = 2
[breakers.student-service-http]
max_failures = 1
reset_timeout = 0.02
"""
FORMATS = {"text/plain": parse_plain, "application/openmetrics-text": parse_openmetrics}

Sample = tuple[str, ...]
Scrape = dict[Sample, float]


class CountingClients:
    """Clients that call without a pause, and count the outcomes of their calls."""

    def __init__(self, port: int, bearer: str) -> None:
        self._port = port
        self._bearer = bearer
        self._chance = random.Random(11)
        self.sent: Counter[str] = Counter()
        self.aborted: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.leaving = False

    def answered(self, breaker: str) -> int:
        return sum(count for (name, _), count in self.ended.items() if name == breaker)

    async def caller(self) -> None:
        while not self.leaving:
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            async with stream:
                while not self.leaving and await self._call(stream):
                    pass

    async def _call(self, stream: trio.SocketStream) -> bool:
        """Make one call. Returns whether the connection can be used again."""
        place = self._chance.choice(list(BREAKERS))
        what = self._chance.choices(("ok", "fail", "charged", "broken", "slow"), (12, 3, 1, 1, 1))[0]
        self.sent[BREAKERS[place]] += 1
        request = f"GET /{place}/{what} HTTP/1.1\r\nHost: it\r\nAuthorization: Bearer {self._bearer}\r\n\r\n"
        await stream.send_all(request.encode())
        answer = b""
        with trio.move_on_after(0.03 if what == "slow" else 20):
            answer = await receive(stream)
        if not answer:
            assert what == "slow", what
            self.aborted[BREAKERS[place]] += 1
            return False
        self.ended[BREAKERS[place], outcome(what, int(answer.split(b" ")[1]))] += 1
        return b"connection: close" not in answer.lower()


async def receive(stream: trio.SocketStream) -> bytes:
    answer = await stream.receive_some()
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    while len(body) < length:
        body += (piece := await stream.receive_some())
        assert piece, answer
    return bytes(head)


def outcome(what: str, status: int) -> str:
    if what == "ok" and status == 200:
        return "success"
    if (what, status) in (("fail", 500), ("broken", 502)):
        return "failure"
    assert status == 503, (what, status)
    # The service's own 503 is forwarded, and looks like a rejection.
    return "ignored or rejected" if what == "charged" else "rejected"


async def scrape(port: int, accept: str) -> Scrape:
    """Scrape on a new connection, which any worker may accept."""
    async with httpx.AsyncClient(trust_env=False, headers={"Accept": accept}) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.headers["content-type"].startswith(accept)
    return {
        (sample.name, *labels(sample.labels)): sample.value
        for family in FORMATS[accept](answer.text)
        for sample in family.samples
    }


def labels(found: dict[str, str]) -> list[str]:
    """The values of the labels, the breaker's name first."""
    return [found[name] for name in sorted(found, key=lambda name: name != "service")]


def counted(found: Scrape, breaker: str) -> dict[str, float]:
    """A breaker's calls by outcome. Fails if its metrics contradict each other."""
    calls = {outcome: found["circuit_breaker_calls_total", breaker, outcome] for outcome in OUTCOMES}
    assert calls["failure"] == found["circuit_breaker_failures_total", breaker]
    reasons = "circuit_breaker_rejections_total", breaker
    assert calls["rejected"] == sum(value for key, value in found.items() if key[:2] == reasons)
    measured = found["circuit_breaker_call_duration_seconds_count", breaker]
    running = found["circuit_breaker_in_flight", breaker]
    # A call is measured when it ends, but counts as in flight until the breaker has counted it.
    assert 0 <= measured - calls["success"] - calls["failure"] - calls["ignored"] <= running
    assert found["circuit_breaker_call_duration_seconds_bucket", breaker, "+Inf"] == measured
    return calls


def moments_agree(found: Scrape, before: Scrape, breaker: str) -> None:
    """State and times are of one moment, since alerts join them."""
    state, changed, outage = (found[name, breaker] for name in MOMENTS)
    exact = {
        key[2]: value for key, value in found.items() if key[:2] == ("circuit_breaker_state_info", breaker)
    }
    assert exact == {one.name.lower(): one == state for one in State}
    assert (state == 0) == (outage == 0)
    assert outage <= changed <= time.time()
    if before and before[MOMENTS[0], breaker] != state:
        assert before[MOMENTS[1], breaker] != changed


def is_count(name: str) -> bool:
    return name.endswith(("_total", "_count", "_bucket", "_sum"))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.resilience)])
async def test_calls_are_the_sum_of_their_outcomes_at_every_scrape(tmp_path: Path, workers: int) -> None:
    """No call is lost or counted twice, no counter goes down, and the totals equal the clients' counts."""
    issuer = Issuer()
    (tmp_path / "breakers.toml").write_text(POLICIES)
    settings = {
        "GATEWAY_WORKERS": str(workers),
        "RATE_LIMIT_PER_MINUTE": "100000000",
        "RATE_LIMIT_PER_HOUR": "100000000",
        "CIRCUIT_BREAKERS": str(tmp_path / "breakers.toml"),
    }
    with (
        running_valkey() as valkey,
        upstream(tmp_path, issuer.document) as service,
        gateway(tmp_path / "gateway", service, VALKEY_URL=valkey.url, **settings) as (_, client),
    ):
        assert client.base_url.port
        port = client.base_url.port
        await wait_for_keys(port, issuer)
        clients = CountingClients(port, issuer.token())
        found = await scrape(port, "text/plain")
        start = {name: sum(counted(found, name).values()) for name in BREAKERS.values()}
        async with trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(clients.caller)
            await scrape_all_the_time(port, clients, start, exactly=workers == 1)
            clients.leaving = True
        await assert_totals_agree(port, clients, start)


async def scrape_all_the_time(
    port: int, clients: CountingClients, start: dict[str, float], *, exactly: bool
) -> None:
    """Scrape without a pause, SCRAPES times, and check each scrape.

    exactly: every ended call must be in the next scrape.
    """
    before: Scrape = {}
    with trio.fail_after(60):
        for number in range(SCRAPES):
            answered = {name: clients.answered(name) for name in start}
            found = await scrape(port, list(FORMATS)[number % 2])
            for name, unseen in start.items():
                total = sum(counted(found, name).values()) - unseen
                # With several workers, a busy one may be represented by its previous counts.
                assert not exactly or answered[name] <= total
                assert total + found["circuit_breaker_in_flight", name] <= clients.sent[name]
                moments_agree(found, before, name)
            assert [key for key, old in before.items() if is_count(key[0]) and found[key] < old] == []
            before = found


async def wait_for_keys(port: int, issuer: Issuer) -> None:
    """Wait until every worker has fetched the key set; a new connection may reach any worker."""
    with trio.fail_after(10):
        known = 0
        while known < 12:
            async with httpx.AsyncClient(trust_env=False, headers=issuer.headers()) as client:
                answer = await client.get(f"http://127.0.0.1:{port}/schools/ok")
            known = known + 1 if answer.status_code == 200 else 0


async def assert_totals_agree(port: int, clients: CountingClients, start: dict[str, float]) -> None:
    """The counts equal the clients' own. A call that a client abandoned may or may not be counted."""
    running = 1.0
    with trio.fail_after(10):
        while running:
            found = await scrape(port, "text/plain")
            running = sum(found["circuit_breaker_in_flight", name] for name in start)
    for name, before in start.items():
        calls = counted(found, name)
        assert calls["failure"] == clients.ended[name, "failure"], name
        assert calls["success"] - before == clients.ended[name, "success"], name
        total = sum(calls.values()) - before
        assert clients.sent[name] - clients.aborted[name] <= total <= clients.sent[name], name
        assert min(calls.values()) > 0, (name, calls)
