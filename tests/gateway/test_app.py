"""The gateway on a mock clock, with scripted services: breakers, limits and its own pages."""

import httpx
import trio
import trio.testing

from actors.messages import State
from tests.gateway.running_gateway import in_process_gateway
from tests.gateway.scripted_service import DEAD, error_code


async def test_break_reject_recover(gateway, services, autojump_clock):
    """Fail five times, rejected; sixty seconds later one probe, and closed again."""
    client, auth = gateway.client(), services["auth"]
    auth.answer = DEAD
    for _ in range(5):
        assert error_code(await client.post("/auth/login", json={})) == (502, "SERVICE_UNAVAILABLE")
    rejected = await client.post("/auth/login", json={})
    assert error_code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "60"
    assert (await client.get("/schools", headers=gateway.issuer.headers())).status_code == 200
    await trio.sleep(30.5)
    assert (await client.post("/auth/login", json={})).headers["retry-after"] == "30"
    assert len(auth.seen) == 5
    await trio.sleep(30)
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "recovering"
    auth.answer = httpx.Response(401, json={"error": "INVALID_CREDENTIALS", "message": "no"})
    assert error_code(await client.post("/auth/login", json={})) == (401, "INVALID_CREDENTIALS")
    assert (await client.get("/health")).json()["data"]["auth"]["status"] == "healthy"


async def test_whoever_sees_the_end_sees_it_counted(gateway, services, autojump_clock):
    """The fifth failure has opened the breaker before the last byte of its answer is sent."""
    client, auth = gateway.client(), services["auth"]
    auth.answer = httpx.Response(500, content=b"oh no")
    for _ in range(4):
        await client.get("/auth/x")
    states = []

    async def send(message):
        if message.get("body"):
            states.append(gateway.panel["auth-service-http"].state)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/auth/x",
        "raw_path": b"/auth/x",
        "query_string": b"",
        "headers": [(b"host", b"gateway")],
        "client": ("192.0.2.1", 1),
    }
    await gateway.app(scope, trio.sleep_forever, send)
    assert states == [State.OPEN]


async def test_half_open_rejections_say_when(gateway, services, autojump_clock):
    """While a probe is under way nobody knows how long it takes: Retry-After is 1."""
    client, auth = gateway.client(), services["auth"]
    auth.answer = DEAD
    for _ in range(5):
        await client.get("/auth/x")
    auth.answer, auth.takes = httpx.Response(200), 5.0
    await trio.sleep(60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.get, "/auth/x")
        await trio.sleep(1)
        rejected = await client.get("/auth/x")
    assert error_code(rejected) == (503, "CIRCUIT_BREAKER_OPEN")
    assert rejected.headers["retry-after"] == "1"
    assert len(auth.seen) == 6


async def test_too_slow(gateway, services, autojump_clock):
    """Thirty seconds without a head: 504."""
    services["auth"].takes = 31
    assert error_code(await gateway.client().get("/auth/x")) == (504, "GATEWAY_TIMEOUT")
    assert await gateway.counts() == {"failure": 1}


async def test_bulkhead(services, autojump_clock):
    """All places taken: 503 BULKHEAD_FULL with Retry-After, and no failure."""
    services["auth"].takes = 5
    async with (
        in_process_gateway(services, policy={"max_concurrent": 1}) as gateway,
        trio.open_nursery() as nursery,
    ):
        client = gateway.client()
        nursery.start_soon(client.get, "/auth/x")
        await trio.sleep(1)
        refused = await client.get("/auth/x")
        assert error_code(refused) == (503, "BULKHEAD_FULL")
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.snapshot()).failure_count == 0


async def test_full_transport_is_no_failure(gateway, services, autojump_clock):
    """That we have no connection left says nothing of the upstream."""
    services["auth"].answer = httpx.PoolTimeout("full")
    refused = await gateway.client().get("/auth/x")
    assert error_code(refused) == (503, "BULKHEAD_FULL")
    assert await gateway.counts() == {"ignored": 1}


async def test_a_bug_is_500_and_no_failure(gateway, services):
    """What nobody foresaw is answered without a trace of it, and not charged to the upstream."""
    services["auth"].answer = ZeroDivisionError("secret detail")
    answer = await gateway.client().get("/auth/x")
    assert error_code(answer) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text
    assert await gateway.counts() == {"ignored": 1}


async def test_own_pages(gateway, autojump_clock):
    """livez, readyz, metrics with the fixed names, and the way to the documentation."""
    client = gateway.client()
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert answer.status_code == 200
    metrics = (await client.get("/metrics")).text
    for name in ("auth", "school", "student"):
        assert f'circuit_breaker_state{{service="{name}-service-http"}} 0.0' in metrics
    start = await client.get("/")
    assert (start.status_code, start.headers["location"]) == (302, "/docs")


async def test_request_lines_in_the_log(gateway, capsys, autojump_clock):
    """One line a request, with its id and without its query."""
    await gateway.client().get("/auth/x?password=hunter2", headers={"X-Request-ID": "mine"})
    lines = [line for line in capsys.readouterr().out.splitlines() if "mine" in line]
    assert len(lines) == 1
    assert "/auth/x" in lines[0]
    assert "200" in lines[0]
    assert "hunter2" not in lines[0]
